//! The requests of a restore, pure: arguments in WSDL order.

use crate::blueprint::{Identity, ImportPlace, ImportSpec, NewCard, write_identity, write_import};
use crate::requests::{Request, request};
use crate::wire::MoRef;

pub(crate) fn import_vapp(place: &ImportPlace, spec: &ImportSpec) -> Request {
    request("ImportVApp", &place.pool, false, |w| {
        write_import(w, spec);
        if let Some(folder) = &place.folder {
            w.moref("folder", folder);
        }
        if let Some(host) = &place.host {
            w.moref("host", host);
        }
    })
}

pub(crate) fn rename(object: &MoRef, name: &str) -> Request {
    request("Rename_Task", object, false, |w| {
        w.text("newName", name);
    })
}

/// Removes the VM and all its files.
pub(crate) fn destroy(vm: &MoRef) -> Request {
    request("Destroy_Task", vm, false, |_| ())
}

pub(crate) fn power_on(vm: &MoRef) -> Request {
    request("PowerOnVM_Task", vm, false, |_| ())
}

pub(crate) fn become_identity(
    vm: &MoRef,
    identity: &Identity,
    cards: &[(i32, NewCard)],
) -> Request {
    request("ReconfigVM_Task", vm, false, |w| write_identity(w, identity, cards))
}

pub(crate) fn set_custom_value(vm: &MoRef, name: &str, value: &str) -> Request {
    request("setCustomValue", vm, false, |w| {
        w.text("key", name).text("value", value);
    })
}
