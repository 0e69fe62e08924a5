//! The SAN as the jobs see it: logged in when it is needed, and again when it was lost.

use block::ReadAt;
use bytes::BytesMut;
use jobs::ports::{BoxFuture, Fabric, PortError, SourceLun};
use model::{ErrorKind, NaaName};
use san::{Lun, LunInfo, San, SanConfig, SanError, Skipped};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use tokio::sync::Mutex;

/// The portals, and the sessions when there are any.
pub(crate) struct Sessions {
    config: SanConfig,
    /// Held while sessions are made.
    login: Mutex<()>,
    now: StdMutex<Now>,
}

/// The SAN, or why there is none.
#[derive(Clone, Default)]
pub(crate) struct Now {
    pub(crate) san: Option<San>,
    pub(crate) error: Option<String>,
}

impl Sessions {
    pub(crate) fn new(config: SanConfig) -> Self {
        Self { config, login: Mutex::default(), now: StdMutex::default() }
    }

    pub(crate) fn now(&self) -> Now {
        self.lock().clone()
    }

    pub(crate) fn config(&self) -> &SanConfig {
        &self.config
    }

    /// Logs in when there is no session, so that the status knows the LUNs.
    pub(crate) async fn look(&self) -> Result<Vec<LunInfo>, PortError> {
        let luns = self.san().await?.luns();
        Ok(luns.iter().map(|lun| lun.info().clone()).collect())
    }

    /// Logs in where there is no session, and takes the inventory again.
    pub(crate) async fn look_again(&self) -> Result<San, PortError> {
        let was_there = self.lock().san.is_some();
        let san = self.san().await?;
        if was_there {
            san.rescan().await;
        }
        Ok(san)
    }

    /// The SAN; logs in when there is no session.
    pub(crate) async fn san(&self) -> Result<San, PortError> {
        let _one_at_a_time = self.login.lock().await;
        if let Some(san) = self.now().san {
            return Ok(san);
        }
        match San::open(self.config.clone()).await {
            Ok(san) => {
                *self.lock() = Now { san: Some(san.clone()), error: None };
                Ok(san)
            }
            Err(error) => {
                *self.lock() = Now { san: None, error: Some(model::chain(&error)) };
                Err(port("logging in to the SAN", error))
            }
        }
    }

    /// Ends the sessions.
    pub(crate) async fn logout(&self) {
        let _one_at_a_time = self.login.lock().await;
        let san = self.lock().san.take();
        if let Some(san) = san {
            san.logout().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner) // whole after every statement
    }
}

/// What could not be used, in a line.
pub(crate) fn skipped_line(skipped: &Skipped) -> String {
    let what = skipped.lun.map_or_else(String::new, |lun| format!("LUN {lun} of "));
    let (target, portal) = (&skipped.target, &skipped.portal);
    format!("{what}{target} at {portal}: {}", model::chain(&skipped.error))
}

impl Fabric for Sessions {
    /// A LUN that is not there may be new: the inventory is taken again. When that does not help
    /// either, the sessions are made anew once before giving up.
    async fn lun(&self, name: &NaaName) -> Result<Arc<dyn SourceLun>, PortError> {
        let san = self.san().await?;
        if let Ok(lun) = verified(&san, name).await {
            return Ok(Arc::new(Source(lun)));
        }
        san.rescan().await;
        let lun = match verified(&san, name).await {
            Ok(lun) => lun,
            Err(_) => {
                self.logout().await;
                let found = verified(&self.san().await?, name).await;
                found.map_err(|error| port(format!("finding LUN {name}"), error))?
            }
        };
        Ok(Arc::new(Source(lun)))
    }
}

async fn verified(san: &San, name: &NaaName) -> Result<Lun, SanError> {
    let lun = san.find(name)?;
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

/// An error of the SAN, for a job or a person.
pub(crate) fn port(operation: impl Into<String>, error: SanError) -> PortError {
    let kind: ErrorKind = error.kind();
    PortError { kind, operation: operation.into(), source: error.into() }
}
