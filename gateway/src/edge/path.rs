//! A route's one parameter.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::problem::{Problem, RouteProblem};

/// The text in the path's place holder, decoded. What does not decode names nothing.
#[derive(Debug)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let decoded: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        match decoded {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => {
                let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
                Err(RouteProblem::Unknown { method, path }.into())
            }
        }
    }
}
