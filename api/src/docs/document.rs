//! The OpenAPI document: its parts stand with the handlers, here is what holds for all of them.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, OpenApi as Document};
use utoipa::{Modify, OpenApi};

use super::{schemas, subscriptions};
use crate::{devices, docs, health, mediator, oauth, operators, resources};

/// The whole document.
pub fn document() -> Document {
    Whole::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OCF Cloud",
        description = "\
OCF Cloud API for Cloud Services (ISO/IEC 30118-10): devices of users who have linked their accounts. \
Beside it the authorization server (OAuth 2.0 with PKCE), what Mediators need to bring devices into \
the cloud, and what operators need.

Every answer has a `Correlation-ID`: that of the request, or one that was made for it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "devices", description = "The devices of a user and their resources"),
        (name = "subscriptions", description = "Events about devices and resources"),
        (name = "mediator", description = "Bringing devices into the cloud and out of it"),
        (name = "authorization", description = "Linking accounts: OAuth 2.0"),
        (name = "operators", description = "Registering partner clouds and users, and looking after the gateway"),
        (name = "health", description = "For supervisors of the process"),
        (name = "documents", description = "This document, OCF's, and the page to try them"),
    ),
    paths(
        devices::list,
        devices::read,
        resources::retrieve,
        resources::update,
        subscriptions::devices::subscribe,
        subscriptions::devices::read,
        subscriptions::devices::unsubscribe,
        subscriptions::device::subscribe,
        subscriptions::device::read,
        subscriptions::device::unsubscribe,
        subscriptions::resource::subscribe,
        subscriptions::resource::read,
        subscriptions::resource::unsubscribe,
        mediator::register,
        mediator::issue_token,
        mediator::list_tokens,
        mediator::remove_device,
        oauth::authorize::show,
        oauth::authorize::decide,
        oauth::login::log_in,
        oauth::token::exchange,
        oauth::revocation::revoke,
        oauth::introspection::introspect,
        oauth::metadata::jwks,
        oauth::metadata::metadata,
        oauth::metadata::openid,
        operators::http::list_clients,
        operators::http::add_client,
        operators::http::remove_client,
        operators::http::add_secret,
        operators::http::set_authorities,
        operators::http::switch_client,
        operators::http::list_subscriptions,
        operators::http::list_users,
        operators::http::add_user,
        operators::http::delete_user,
        operators::http::set_password,
        operators::http::switch_user,
        operators::http::read_shards,
        health::alive,
        health::ready,
        docs::openapi,
        docs::ocf_definition,
        docs::ocf_licence,
        docs::to_page,
        docs::page,
        docs::page_file,
    ),
    components(schemas(
        schemas::Problem,
        schemas::OauthError,
        schemas::Link,
        schemas::Representation,
        schemas::Content,
        schemas::ContentQuery,
    )),
    modifiers(&Credentials),
)]
struct Whole;

/// How callers say who they are.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Components::new);
        let mut known = |name: &str, scheme, description: &str| {
            let http = Http::builder().scheme(scheme).description(Some(description)).build();
            components.add_security_scheme(name, SecurityScheme::Http(http));
        };
        let token = "Access token of a user's link, or a token of the credentials file. Each operation \
                     names the scopes or the right that it needs";
        known("bearer", HttpAuthScheme::Bearer, token);
        known("client", HttpAuthScheme::Basic, "`client_id` and `client_secret`");
    }
}
