//! The SAN as the jobs see it: logged in when it is needed, and again when it was lost.

use block::ReadAt;
use bytes::BytesMut;
use jobs::ports::{BoxFuture, Fabric, PortError, SourceLun};
use model::{ErrorKind, NaaName};
use san::{Lun, LunInfo, PortalConfig, San, SanError, Skipped};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use tokio::sync::Mutex;

/// The portals, and the sessions when there are any.
pub(crate) struct Sessions {
    portals: Vec<PortalConfig>,
    san: Mutex<Option<San>>,
    seen: StdMutex<Seen>,
}

/// The outcome of the last look at the SAN, for the status page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) luns: Vec<LunInfo>,
    /// What could not be looked at, a line each.
    pub(crate) skipped: Vec<String>,
    pub(crate) error: Option<String>,
}

impl Sessions {
    pub(crate) fn new(portals: Vec<PortalConfig>) -> Self {
        Self { portals, san: Mutex::default(), seen: StdMutex::default() }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs in when there is no session, so that the status knows the LUNs.
    pub(crate) async fn look(&self) -> Result<Vec<LunInfo>, PortError> {
        let mut san = self.san.lock().await;
        self.login_if_needed(&mut san).await?;
        Ok(self.seen().luns)
    }

    /// Ends the sessions.
    pub(crate) async fn logout(&self) {
        if let Some(san) = self.san.lock().await.take() {
            san.logout().await;
        }
    }

    async fn login_if_needed(&self, san: &mut Option<San>) -> Result<(), PortError> {
        if san.is_some() {
            return Ok(());
        }
        let login = San::login(self.portals.clone()).await;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match login {
            Ok(sessions) => {
                let luns = sessions.luns().iter().map(|lun| lun.info().clone()).collect();
                let skipped = sessions.skipped().iter().map(skipped_line).collect();
                *seen = Seen { luns, skipped, error: None };
                *san = Some(sessions);
                Ok(())
            }
            Err(error) => {
                let text = model::chain(&error);
                *seen = Seen { error: Some(text), ..Seen::default() };
                Err(port("logging in to the SAN", error))
            }
        }
    }
}

fn skipped_line(skipped: &Skipped) -> String {
    let what = skipped.lun.map_or_else(String::new, |lun| format!("LUN {lun} of "));
    let (target, portal) = (&skipped.target, &skipped.portal);
    format!("{what}{target} at {portal}: {}", model::chain(&skipped.error))
}

impl Fabric for Sessions {
    /// A LUN that is not there may be new, and a session may be lost: the sessions are made anew
    /// once before giving up.
    async fn lun(&self, name: &NaaName) -> Result<Arc<dyn SourceLun>, PortError> {
        let mut san = self.san.lock().await;
        self.login_if_needed(&mut san).await?;
        let lun = match verified(san.as_ref(), name).await {
            Ok(lun) => lun,
            Err(_) => {
                if let Some(old) = san.take() {
                    old.logout().await;
                }
                self.login_if_needed(&mut san).await?;
                verified(san.as_ref(), name)
                    .await
                    .map_err(|error| port(format!("finding LUN {name}"), error))?
            }
        };
        Ok(Arc::new(Source(lun)))
    }
}

async fn verified(san: Option<&San>, name: &NaaName) -> Result<Lun, SanError> {
    let lun = san.expect("logged in by the caller").find(name)?;
    lun.verify().await?;
    Ok(lun)
}

struct Source(Lun);

impl SourceLun for Source {
    fn capacity(&self) -> u64 {
        self.0.info().capacity
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(async move {
            let bytes =
                self.0.read_into(offset, length, BytesMut::new()).await.map_err(|error| {
                    port(format!("reading {length} bytes at {offset:#x} of the LUN"), error)
                })?;
            Ok(bytes.into())
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.0.verify().await.map_err(|error| port("asking the LUN again who it is", error))
        })
    }

    fn blocking(&self) -> Arc<dyn ReadAt> {
        Arc::new(self.0.blocking())
    }
}

fn port(operation: impl Into<String>, error: SanError) -> PortError {
    let kind: ErrorKind = error.kind();
    PortError { kind, operation: operation.into(), source: error.into() }
}
