//! What a VM is beside its disks: configuration, place in the inventory, attributes, tags.

use crate::site::{VM, start_with, the_vm};
use serde_json::json;
use vsphere::Tag;

#[tokio::test]
async fn the_configuration_the_place_and_the_tags_of_a_vm_are_read() {
    let Some(site) = start_with("portrait", |site| {
        site["vms"][0]["vm_folder"] = json!("Shop");
        site["vms"][0]["tags"] = json!({ "tier": "gold", "site": "north & west" });
        site["vms"][0]["attributes"] = json!({ "owner": "Ann <ann@example.com>", "cost": "4711" });
    }) else {
        return;
    };
    let client = site.client().await;
    let vm = the_vm(&client).await;

    let place = client.placement(&vm.moref).await.unwrap();
    assert_eq!(place.datacenter.as_deref(), Some("DC0"));
    assert_eq!(place.folder, ["Shop"]);
    assert_eq!(place.compute.as_deref(), Some("DC0_C0"));
    assert!(place.resource_pool.is_empty(), "{place:?}");
    assert!(place.host.unwrap().starts_with("DC0_C0_H"));
    assert_eq!(place.datastores, ["san01"]);
    assert_eq!(place.networks, ["VM Network"]);
    let mut attributes = place.custom_attributes;
    attributes.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(attributes, [pair("cost", "4711"), pair("owner", "Ann <ann@example.com>")]);

    let tag = |category: &str, name: &str| Tag { category: category.into(), name: name.into() };
    let tags = client.tags(&vm.moref).await.unwrap();
    assert_eq!(tags, [tag("site", "north & west"), tag("tier", "gold")]);

    let snapshot = client.create_snapshot(&vm.moref, "s", "", false).await.unwrap();
    let configuration = client.snapshot_configuration(&snapshot).await.unwrap();
    assert_eq!(configuration.hardware_version.as_deref(), Some("vmx-19"));
    assert_eq!(configuration.guest_id.as_deref(), Some("debian12_64Guest"));
    let nic = &configuration.nics[0];
    assert_eq!(
        (nic.mac.as_str(), nic.network.as_deref()),
        ("00:50:56:3f:66:66", Some("VM Network"))
    );
    let name = VM.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for part in [&format!("<name>{name}</name>"), "<key>2000</key>", "xsi:type=\"VirtualDisk\""] {
        assert!(configuration.xml.contains(part), "{part}: {}", configuration.xml);
    }
    client.remove_snapshot(&snapshot).await.unwrap();
    client.logout().await.unwrap();
}
