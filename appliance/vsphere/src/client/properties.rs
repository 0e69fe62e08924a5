//! Reading properties: of all objects of a kind, page by page, or of one.

use super::Client;
use super::caller::odd;
use crate::error::VsphereError;
use crate::requests;
use crate::wire::{Fault, MoRef, ObjectContent, Response, decode_page};

/// Objects per answer. A VM's devices are a few hundred elements.
const PAGE: u32 = 50;
/// Answers to one question: with one object each, far above vCenter's maximum of VMs.
const MAX_PAGES: usize = 200_000;

impl Client {
    /// Every object of `kind` below the root folder, decoded page by page.
    pub(super) async fn read_all<T>(
        &self,
        kind: &'static str,
        paths: &'static [&'static str],
        decode: impl Fn(&ObjectContent<'_>) -> T,
    ) -> Result<Vec<T>, VsphereError> {
        let shared = &self.shared;
        let request = requests::create_container_view(&shared.view_manager, &shared.root, kind);
        let view = self.returned_object(&shared.view_manager, &request).await?;
        let read = self.read_view(&view, kind, paths, decode).await;
        // The view ends with the session at the latest; the reading counts, not this.
        if let Err(error) = self.call(&view, &requests::destroy_view(&view)).await {
            tracing::debug!(%view, %error, "a view was not destroyed");
        }
        read
    }

    async fn read_view<T>(
        &self,
        view: &MoRef,
        kind: &str,
        paths: &[&str],
        decode: impl Fn(&ObjectContent<'_>) -> T,
    ) -> Result<Vec<T>, VsphereError> {
        let collector = &self.shared.property_collector;
        let mut found = Vec::new();
        let mut request = requests::retrieve_view(collector, view, kind, paths, PAGE);
        for _ in 0..MAX_PAGES {
            let method = request.method;
            let response = self.call(collector, &request).await?;
            let page = decode_page(&response).map_err(odd(method))?;
            let page = page.map_err(|fault| refused(method, view, fault))?;
            // A listing races with removals.
            found.extend(page.objects.iter().filter(|object| !object.is_gone()).map(&decode));
            match page.token {
                Some(token) => request = requests::continue_retrieve(collector, token),
                None => return Ok(found),
            }
        }
        let source = crate::wire::WireError::TooMuch { what: "pages", limit: MAX_PAGES };
        Err(VsphereError::Wire { method: request.method, source })
    }

    /// One object. Gone is an error.
    pub(super) async fn read_one<T>(
        &self,
        object: &MoRef,
        paths: &[&str],
        decode: impl Fn(&ObjectContent<'_>) -> Result<T, VsphereError>,
    ) -> Result<T, VsphereError> {
        let collector = &self.shared.property_collector;
        let request = requests::retrieve_object(collector, object, paths);
        let response = match self.call(collector, &request).await {
            Err(VsphereError::Fault { source, .. })
                if source.is_gone() && source.object.as_ref() == Some(object) =>
            {
                return Err(VsphereError::Gone { object: object.clone() });
            }
            other => other?,
        };
        let page = decode_page(&response).map_err(odd(request.method))?;
        let page = page.map_err(|fault| refused(request.method, object, fault))?;
        match page.objects.iter().find(|content| content.object == *object) {
            Some(content) if !content.is_gone() => decode(content),
            _ => Err(VsphereError::Gone { object: object.clone() }),
        }
    }

    /// A call that returns a reference.
    pub(super) async fn returned_object(
        &self,
        object: &MoRef,
        request: &requests::Request,
    ) -> Result<MoRef, VsphereError> {
        let response: Response = self.call(object, request).await?;
        response.need_value().and_then(|value| value.moref()).map_err(odd(request.method))
    }
}

/// A property that has to be there.
pub(super) fn withheld(content: &ObjectContent<'_>, path: &str) -> VsphereError {
    let reason = content.missing().find(|(missing, _)| *missing == path);
    VsphereError::Withheld {
        property: path.to_owned(),
        object: content.object.clone(),
        source: reason.map(|(_, fault)| Box::new(fault)),
    }
}

fn refused(method: &'static str, object: &MoRef, fault: Fault) -> VsphereError {
    VsphereError::Fault { method, object: object.clone(), source: Box::new(fault) }
}
