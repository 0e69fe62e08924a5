//! Configurations of hosts and of the vCenter, from what the client reads.

use super::hypervisor::Vcenter;
use jobs::configuration::{ConfigurationSource, ConfigurationView, PREFIX};
use jobs::ports::PortError;
use model::{ErrorKind, VmIdentity, VmUuid};
use serde_json::json;
use std::collections::BTreeSet;
use vsphere::{About, FileBackup, Host, MoRef, Object, ServerPart, VsphereError};

/// Objects of the inventory in one file: a recovery point takes files of 8 MiB at the most.
const OBJECTS: usize = 10_000;
/// Bytes of one file.
const FILE_MAX: usize = 8 << 20;

/// Which configurations there are: that of each connected host, and of the vCenter.
pub(crate) async fn all(vcenter: &Vcenter) -> Result<Vec<VmIdentity>, PortError> {
    let (about, hosts) = vcenter.hosts().await?;
    let server = (about.api_type == "VirtualCenter").then(|| of_server(&about));
    let known: Vec<_> = hosts.iter().map(|host| of_host(&about, host)).collect();
    let unique: BTreeSet<_> = known.iter().map(|identity| &identity.uuid.0).collect();
    if unique.len() < known.len() {
        return Err(PortError {
            kind: ErrorKind::Refused,
            operation: "telling the hosts apart".into(),
            source: "two hosts have the same UUID (hardware.systemInfo.uuid)".into(),
        });
    }
    Ok(server.into_iter().chain(known).collect())
}

fn of_server(about: &About) -> VmIdentity {
    let server_uuid = about.instance_uuid.clone().unwrap_or_default();
    VmIdentity {
        uuid: VmUuid(format!("{PREFIX}vcenter")),
        name: "configuration of the vCenter".into(),
        server_uuid,
    }
}

fn of_host(about: &About, host: &Host) -> VmIdentity {
    let uuid = host.uuid.as_deref().unwrap_or(&host.name);
    VmIdentity {
        uuid: VmUuid(format!("{PREFIX}host:{uuid}")),
        name: format!("configuration of host {}", host.name),
        server_uuid: about.instance_uuid.clone().unwrap_or_default(),
    }
}

impl ConfigurationSource for Vcenter {
    async fn configuration(&self, uuid: &VmUuid) -> Result<ConfigurationView, PortError> {
        let (about, hosts) = self.hosts().await?;
        let server = of_server(&about);
        if *uuid == server.uuid && about.api_type == "VirtualCenter" {
            return self.server_configuration(server).await;
        }
        let host = hosts.iter().find(|host| of_host(&about, host).uuid == *uuid);
        let host = host.ok_or_else(|| PortError {
            kind: ErrorKind::NotFound,
            operation: format!("finding the host of {uuid}"),
            source: "the inventory has no such host any more".into(),
        })?;
        let identity = of_host(&about, host);
        let mut view = ConfigurationView { identity, files: Vec::new(), missing: Vec::new() };
        match self.host_configuration(host).await {
            Ok(bundle) => {
                let about_it =
                    json!({ "host": host.name, "uuid": host.uuid, "server": about.full_name });
                view.files.push(("configBundle.tgz".into(), bundle));
                view.files.push(("holdfast-configuration.json".into(), pretty(&about_it)));
            }
            Err(error) => view.missing.push(model::chain(&error)),
        }
        Ok(view)
    }
}

impl Vcenter {
    /// All hosts, and the server that lists them.
    async fn hosts(&self) -> Result<(About, Vec<Host>), PortError> {
        let client = self.client().await?;
        let hosts = self.note(client.hosts().await, "listing the hosts")?;
        Ok((client.about().clone(), hosts))
    }

    /// The file that a host packs its configuration into.
    async fn host_configuration(&self, host: &Host) -> Result<Vec<u8>, PortError> {
        let client = self.client().await?;
        client.host_configuration(host).await.map_err(|error| PortError {
            kind: error.kind(),
            operation: format!("fetching the configuration of host {}", host.name),
            source: error.into(),
        })
    }

    /// Roles, permissions, settings: each, or why not.
    async fn server_parts(
        &self,
    ) -> Result<Vec<(&'static str, Result<ServerPart, VsphereError>)>, PortError> {
        Ok(self.client().await?.server_configuration().await)
    }

    /// Lets the vCenter make its own backup, where it is to: what it says of it, as JSON.
    async fn own_backup(&self) -> Option<Result<serde_json::Value, PortError>> {
        let order = self.file_backup.as_ref()?;
        let client = match self.client().await {
            Ok(client) => client,
            Err(error) => return Some(Err(error)),
        };
        let ended = client.file_backup(order).await;
        Some(self.note(ended, "the vCenter's own file-based backup"))
    }

    async fn server_configuration(
        &self,
        identity: VmIdentity,
    ) -> Result<ConfigurationView, PortError> {
        let mut view = ConfigurationView { identity, files: Vec::new(), missing: Vec::new() };
        for (name, part) in self.server_parts().await? {
            match part {
                Ok(part) => add(&mut view, format!("{name}.xml"), part.xml.into_bytes()),
                Err(error) => view.missing.push(format!("{name}: {}", model::chain(&error))),
            }
        }
        let objects = self
            .inventory
            .live(|tree| tree.iter().map(|(id, object)| described(id, object)).collect::<Vec<_>>());
        match objects {
            None => view.missing.push("the inventory: it is not live now".into()),
            Some(objects) => {
                for (number, part) in (1..).zip(objects.chunks(OBJECTS)) {
                    add(&mut view, format!("inventory-{number}.json"), pretty(&json!(part)));
                }
            }
        }
        match self.own_backup().await {
            None => {}
            Some(Err(error)) => view.missing.push(model::chain(&error)),
            Some(Ok(said)) => {
                if said["state"] != "SUCCEEDED" {
                    let text =
                        format!("the vCenter's own file-based backup did not succeed: {said}");
                    view.missing.push(text);
                }
                add(&mut view, "file-backup.json".into(), pretty(&said));
            }
        }
        Ok(view)
    }
}

/// The order for vCenter's own backup from ours.
pub(crate) fn file_backup(
    config: &crate::config::Vcenter,
    password: Option<String>,
) -> Option<FileBackup> {
    let order = config.file_backup.as_ref()?;
    Some(FileBackup {
        location: order.location.clone(),
        user: order.user.clone(),
        password: vsphere::Secret::new(password?),
        parts: order.parts.clone(),
    })
}

/// Keeps a file, or says that it is too large.
fn add(view: &mut ConfigurationView, name: String, bytes: Vec<u8>) {
    if bytes.len() > FILE_MAX {
        view.missing.push(format!("{name}: it has {} MiB, 8 are kept", bytes.len() >> 20));
    } else {
        view.files.push((name, bytes));
    }
}

fn described(id: &MoRef, object: &Object) -> serde_json::Value {
    let reference = |path: &str| object.reference(path).map(ToString::to_string);
    let mut value = json!({
        "id": id.to_string(),
        "name": object.name(),
        "parent": object.parent().map(ToString::to_string),
    });
    let more = [
        ("uuid", object.text("config.instanceUuid").map(str::to_owned)),
        ("host", reference("runtime.host")),
        ("resource_pool", reference("resourcePool")),
        ("datastore_type", object.text("summary.type").map(str::to_owned)),
    ];
    for (name, text) in more {
        if let Some(text) = text {
            value[name] = text.into();
        }
    }
    value
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("a value of JSON is JSON")
}
