package wire

import (
	"bytes"
	stdxml "encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

const (
	soapSpace     = "http://schemas.xmlsoap.org/soap/envelope/"
	internalSpace = "urn:internalvim25"
	head          = xml.Header + `<soapenv:Envelope xmlns:soapenv="` + soapSpace + `"` +
		` xmlns:xsd="http://www.w3.org/2001/XMLSchema"` +
		` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>`
	foot = `</soapenv:Body></soapenv:Envelope>`
)

var errNoCall = errors.New("the request holds no SOAP call")

// call is what the gate wants to know of a request.
type call struct {
	Name  string
	Space string
	This  types.ManagedObjectReference
	// Of DisableMethods and EnableMethods.
	Entities []string
	Methods  []string
}

// callOf reads the call out of a SOAP request. It reads only what it needs; the simulator
// decodes the rest by itself.
func callOf(request []byte) (*call, error) {
	decoder := stdxml.NewDecoder(bytes.NewReader(request))
	for depth := 0; ; {
		token, err := decoder.Token()
		if err == io.EOF {
			return nil, errNoCall
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case stdxml.StartElement:
			if depth == 1 && t.Name.Local != "Body" {
				if err := decoder.Skip(); err != nil {
					return nil, err
				}
				continue
			}
			if depth == 2 {
				return decodeCall(decoder, t)
			}
			depth++
		case stdxml.EndElement:
			depth--
		}
	}
}

func decodeCall(decoder *stdxml.Decoder, start stdxml.StartElement) (*call, error) {
	var fields struct {
		This struct {
			Type  string `xml:"type,attr"`
			Value string `xml:",chardata"`
		} `xml:"_this"`
		Entities []string `xml:"entity"`
		Methods  []struct {
			Text   string `xml:",chardata"`
			Method string `xml:"method"`
		} `xml:"method"`
	}
	if err := decoder.DecodeElement(&fields, &start); err != nil {
		return nil, err
	}
	c := &call{
		Name: start.Name.Local, Space: start.Name.Space, Entities: fields.Entities,
		This: types.ManagedObjectReference{Type: fields.This.Type, Value: fields.This.Value},
	}
	for _, m := range fields.Methods {
		if m.Method != "" { // DisableMethods wraps each name, EnableMethods does not
			c.Methods = append(c.Methods, m.Method)
		} else {
			c.Methods = append(c.Methods, m.Text)
		}
	}
	return c, nil
}

// faultEnvelope spells a fault the way the simulator and vCenter do. fault nil = a type of the
// given name without properties.
func faultEnvelope(name, message string, fault types.BaseMethodFault) []byte {
	var out bytes.Buffer
	out.WriteString(head + `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>`)
	out.WriteString(escape(message))
	out.WriteString(`</faultstring><detail>`)
	start := xml.StartElement{
		Name: xml.Name{Local: name + "Fault"},
		Attr: []xml.Attr{
			{Name: xml.Name{Local: "xmlns"}, Value: "urn:vim25"},
			{Name: xml.Name{Local: "xsi:type"}, Value: name},
		},
	}
	var value any = fault
	if fault == nil || reflect.ValueOf(fault).IsNil() {
		value = struct{}{}
	}
	if err := xml.NewEncoder(&out).EncodeElement(value, start); err != nil {
		out.WriteString(escape(err.Error()))
	}
	out.WriteString(`</detail></soapenv:Fault>` + foot)
	return out.Bytes()
}

// taskEnvelope is the answer of a method that has started a task.
func taskEnvelope(method string, task types.ManagedObjectReference) []byte {
	return fmt.Appendf(nil, `%s<%sResponse xmlns="urn:vim25"><returnval type="%s">%s</returnval></%sResponse>%s`,
		head, method, escape(task.Type), escape(task.Value), method, foot)
}

func emptyEnvelope(method string) []byte {
	return fmt.Appendf(nil, `%s<%sResponse xmlns="urn:vim25"></%sResponse>%s`, head, method, method, foot)
}

func escape(text string) string {
	var out bytes.Buffer
	if err := stdxml.EscapeText(&out, []byte(text)); err != nil {
		return "" // a bytes.Buffer never fails
	}
	return out.String()
}
