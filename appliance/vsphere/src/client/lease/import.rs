//! A VM in the making: disks sent through the lease of ImportVApp.

use super::{DeviceUrl, Lease};
use crate::client::upload;
use crate::error::VsphereError;
use tokio::sync::mpsc::Receiver;

impl Lease {
    /// Sends a disk in streamOptimized format. `place` is where it hangs, such as
    /// `ParaVirtualSCSIController0:1`; `number` is its number among the disks. The last piece is
    /// empty: a channel that ends without breaks the upload off. Gives the bytes sent.
    ///
    /// # Errors
    /// The server takes no such disk, or did not take it to its end.
    pub async fn send(
        &self,
        place: &str,
        number: usize,
        pieces: Receiver<Vec<u8>>,
    ) -> Result<u64, VsphereError> {
        let (line, path) = self.line(self.device(place, number)?)?;
        match upload::disk(&line, &path, pieces).await {
            Ok(sent) => Ok(sent),
            // The server's reason says more than the connection that broke with it.
            Err(error) => Err(self.check().await.err().unwrap_or(error)),
        }
    }

    /// Import keys are `/VM/CONTROLLERbus:unit` (vCenter), or `/VM/disk:N` (simulators).
    fn device(&self, place: &str, number: usize) -> Result<&DeviceUrl, VsphereError> {
        let suffixes = [format!("/{place}"), format!("/disk:{number}")];
        let key = |device: &DeviceUrl| device.import_key.clone().unwrap_or_default();
        let fits = |device: &&DeviceUrl| suffixes.iter().any(|end| key(device).ends_with(end));
        let mut found = self.info().devices.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(device), None) => Ok(device),
            _ => {
                let keys: Vec<String> = self.info().devices.iter().map(key).collect();
                let why = format!("it names no single place for disk {place}, but {keys:?}");
                Err(self.granted.unusable(&why))
            }
        }
    }
}
