package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const valid = `{"user":"u","password":"p","vmfs_tool":["t"],
"datastore":{"name":"d","naa":"naa.6","vmfs_uuid":"65f0a1b2-c3d4e5f6-0718-293a4b5c6d7e",
 "capacity":1,"partition":1,"lun_sectors":1,"image":"i"},
"vms":[{"name":"v","folder":"v","guest_id":"g","uuid":"u","instance_uuid":"i",
 "disks":[{"key":2000,"unit":0,"file":"v/v.vmdk","flat":"v/v-flat.vmdk","capacity":1024,
  "thin":true,"uuid":"6000C29a","truth":""}]}]}`

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestDefaults(t *testing.T) {
	c, err := load(t, valid)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:0" || c.APIVersion != "8.0.2.0" || c.PageAreas != 2000 || c.Granularity != 512 {
		t.Fatalf("%+v", c)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for want, change := range map[string][2]string{
		`unknown field "typo"`: {`"user"`, `"typo":1,"user"`},
		"user and password":    {`"password":"p"`, `"password":""`},
		"vmfs_uuid":            {"65f0a1b2-", "65F0A1B2-"},
		"vmfs_tool":            {`["t"]`, `[]`},
		"unit must be":         {`"unit":0`, `"unit":7`},
		"key must be":          {`"key":2000`, `"key":3`},
		"capacity must be":     {`"capacity":1024`, `"capacity":1023`},
		"folder must be":       {`"folder":"v"`, `"folder":"../v"`},
		"unexpected EOF":       {`"disks":[`, ``},
	} {
		text := strings.Replace(valid, change[0], change[1], 1)
		if want == "unexpected EOF" {
			text = valid[:len(valid)-10]
		}
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error that names %q, got %v", want, err)
		}
	}
}
