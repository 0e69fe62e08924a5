//! What a recovery point keeps of a VM beside its disks, from what the client read.

use api::{Portrait, PortraitAttribute, PortraitNic, PortraitTag};
use jobs::ports::{VmPortrait, VmView};
use vsphere::{Configuration, Nic, Placement, Tag, VsphereError};

pub(super) fn portrait(
    vm: &VmView,
    configuration: Configuration,
    placement: Result<Placement, VsphereError>,
    tags: Result<Vec<Tag>, VsphereError>,
) -> VmPortrait {
    let mut missing = Vec::new();
    let placement = or_missing(placement, "its place in the inventory", &mut missing);
    let tags = or_missing(tags, "its tags", &mut missing);
    let Configuration { xml, guest_id, hardware_version, firmware, notes, nics } = configuration;
    let attribute = |(name, value)| PortraitAttribute { name, value };
    let portrait = Portrait {
        name: vm.identity.name.clone(),
        instance_uuid: vm.identity.uuid.to_string(),
        guest_id,
        hardware_version,
        firmware,
        notes,
        nics: nics.into_iter().map(nic).collect(),
        datacenter: placement.datacenter,
        folder: placement.folder,
        compute: placement.compute,
        resource_pool: placement.resource_pool,
        host: placement.host,
        datastores: placement.datastores,
        networks: placement.networks,
        tags: tags.into_iter().map(tag).collect(),
        custom_attributes: placement.custom_attributes.into_iter().map(attribute).collect(),
        missing,
    };
    VmPortrait { portrait, configuration: xml }
}

fn or_missing<T: Default>(
    read: Result<T, VsphereError>,
    what: &str,
    missing: &mut Vec<String>,
) -> T {
    read.unwrap_or_else(|error| {
        missing.push(format!("{what} could not be read ({})", model::chain(&error)));
        T::default()
    })
}

fn nic(Nic { label, mac, address_type, network }: Nic) -> PortraitNic {
    PortraitNic { label, mac, address_type, network }
}

fn tag(Tag { category, name }: Tag) -> PortraitTag {
    PortraitTag { category, name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{VmIdentity, VmUuid};

    #[test]
    fn what_could_not_be_read_is_named_and_the_rest_is_kept() {
        let identity = VmIdentity {
            uuid: VmUuid("50 01".into()),
            name: "web01".into(),
            server_uuid: String::new(),
        };
        let vm = VmView {
            reference: "vm-1".into(),
            identity,
            template: false,
            powered_off: false,
            fault_tolerance: None,
            tools_running: true,
            cbt_supported: true,
            cbt_enabled: true,
            consolidation_needed: false,
            snapshots: Vec::new(),
            vmx_path: String::new(),
            disks: Vec::new(),
            problems: Vec::new(),
        };
        let configuration = Configuration {
            xml: "<config/>".into(),
            guest_id: None,
            hardware_version: Some("vmx-19".into()),
            firmware: None,
            notes: None,
            nics: Vec::new(),
        };
        let placement = Placement { folder: vec!["Shop".into()], ..Placement::default() };
        let tags = Err(VsphereError::Status { method: "tags", status: 503 });
        let VmPortrait { portrait, configuration } =
            portrait(&vm, configuration, Ok(placement), tags);
        assert_eq!((configuration.as_str(), portrait.folder), ("<config/>", vec!["Shop".into()]));
        assert!(portrait.tags.is_empty());
        let [missing] = portrait.missing.as_slice() else { panic!("{:?}", portrait.missing) };
        assert!(missing.contains("tags") && missing.contains("503"), "{missing}");
    }
}
