//! First contact: API version, service content, login.

use super::address::Address;
use super::caller::{Caller, ask_version, odd};
use super::session::Session;
use super::transport::Transport;
use super::{Config, Shared};
use crate::error::VsphereError;
use crate::requests;
use crate::thumbprint::Pin;
use crate::wire::{ApiVersion, MoRef, Node, WireError};

/// What the server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Such as `8.0.2.0`.
    pub api_version: String,
    /// `VirtualCenter` or `HostAgent`.
    pub api_type: String,
    /// Identity of the vCenter; a single host gives none.
    pub instance_uuid: Option<String>,
    /// Name and version, for people.
    pub full_name: String,
}

/// The oldest version whose methods behave as this client expects.
const OLDEST: (u32, u32) = (6, 5);

pub(super) async fn connect(config: Config) -> Result<Shared, VsphereError> {
    let Config { url, user, password, thumbprint, call_timeout, task_timeout } = config;
    let transport = Transport::new(Address::parse(&url)?, Pin::Sha256(thumbprint))?;
    let listed = ask_version(&transport, call_timeout).await?;
    let (oldest_major, oldest_minor) = OLDEST;
    let version = listed.clone().or_else(|| {
        // Every server knows the versions before its own.
        ApiVersion::parse(&format!("{oldest_major}.{oldest_minor}"))
    });
    let version = version.expect("the oldest version is a version");
    let mut caller = Caller { transport, version };
    let content = service_content(&caller, call_timeout).await?;
    if listed.is_none()
        && let Some(version) = ApiVersion::parse(&content.about.api_version)
    {
        caller.version = version;
    }
    if caller.version.release() < OLDEST {
        return Err(VsphereError::Unsupported { version: caller.version.to_string() });
    }
    tracing::debug!(server = content.about.full_name, version = %caller.version, "negotiated");
    let session = Session::new(caller, content.session_manager, user, password, call_timeout);
    session.login().await?;
    Ok(Shared {
        session,
        about: content.about,
        root: content.root,
        property_collector: content.property_collector,
        view_manager: content.view_manager,
        authorization_manager: content.authorization_manager,
        option_manager: content.option_manager,
        task_timeout,
    })
}

struct ServiceContent {
    about: About,
    root: MoRef,
    property_collector: MoRef,
    view_manager: MoRef,
    authorization_manager: Option<MoRef>,
    option_manager: Option<MoRef>,
    session_manager: MoRef,
}

async fn service_content(
    caller: &Caller,
    limit: std::time::Duration,
) -> Result<ServiceContent, VsphereError> {
    let request = requests::retrieve_service_content();
    let instance = MoRef::new("ServiceInstance", "ServiceInstance");
    let returned = caller.call(&instance, &request, None, limit).await?;
    let content = returned.response.need_value().and_then(decode);
    content.map_err(odd(request.method))
}

fn decode(content: Node<'_>) -> Result<ServiceContent, WireError> {
    let about = content.need("about")?;
    Ok(ServiceContent {
        about: About {
            api_version: about.need_text("apiVersion")?.to_owned(),
            api_type: about.need_text("apiType")?.to_owned(),
            instance_uuid: about.get("instanceUuid").map(str::to_owned),
            full_name: about.get("fullName").unwrap_or_default().to_owned(),
        },
        root: content.need("rootFolder")?.moref()?,
        property_collector: content.need("propertyCollector")?.moref()?,
        view_manager: content.need("viewManager")?.moref()?,
        authorization_manager: content
            .child("authorizationManager")
            .and_then(|node| node.moref().ok()),
        option_manager: content.child("setting").and_then(|node| node.moref().ok()),
        session_manager: content.need("sessionManager")?.moref()?,
    })
}
