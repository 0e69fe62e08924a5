//! The token in front of the API (RFC 6750: `Authorization: Bearer …`).

use crate::answer::Failure;
use crate::secret::Secret;
use api::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Below `/api` nothing is answered without the token, known or not; the page holds no secret.
pub(crate) fn is_guarded(path: &str) -> bool {
    path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Lets a request through when it needs no token or carries it.
pub(crate) async fn require_token(
    State(secret): State<Secret>,
    request: Request,
    next: Next,
) -> Response {
    if !is_guarded(request.uri().path()) {
        return next.run(request).await;
    }
    match bearer(request.headers()) {
        Some(token) if secret.matches(token) => next.run(request).await,
        Some(_) => refused("The token is not the one that this appliance expects.", true),
        None => refused("The request carries no token.", false),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

fn refused(detail: &str, invalid: bool) -> Response {
    let problem = Problem::of_request(401, "not-authorised", "A valid token is needed")
        .detail(detail)
        .next_step("Send the content of the daemon's token file as 'Authorization: Bearer …'.");
    let mut response = Failure::from(problem).into_response();
    let challenge = if invalid { r#"Bearer error="invalid_token""# } else { "Bearer" };
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn only_the_bearer_scheme_is_known() {
        assert_eq!(bearer(&of("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&of("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&of("Basic abc")), None);
        assert_eq!(bearer(&of("Bearer")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
