//! What bodies look like where handlers write them piece by piece, for the document (cloud reference
//! 4.3 to 4.5).

use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, ToSchema};

/// A device of the user.
#[derive(ToSchema)]
pub struct Device {
    /// What it says of itself.
    pub device: DeviceDescription,
    /// Whether it is signed in.
    pub status: DeviceStatus,
    /// With `content=base` links, with `content=all` representations.
    #[schema(schema_with = links)]
    pub links: Vec<Link>,
}

/// The state of a device's session with the cloud.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum DeviceStatus {
    /// Connected and signed in.
    Online,
    /// Signed up, but not there.
    Offline,
}

/// `/oic/d` of the device; members that are not listed here are passed on.
#[derive(ToSchema)]
pub struct DeviceDescription {
    /// Device id.
    #[schema(value_type = String, format = "uuid")]
    pub di: String,
    /// Resource types: `oic.wk.d` and what kind of device it is.
    #[schema(min_items = 1)]
    pub rt: Vec<String>,
    /// Name.
    #[schema(max_length = 64)]
    pub n: String,
    /// Manufacturer's name.
    #[schema(min_items = 1)]
    pub dmn: Vec<LocalizedText>,
}

/// A text in a language.
#[derive(ToSchema)]
pub struct LocalizedText {
    /// Tag of RFC 5646.
    #[schema(pattern = "^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$")]
    pub language: String,
    /// The text.
    #[schema(max_length = 64)]
    pub value: String,
}

/// A published resource. `/api/v1/devices` followed by its `href` is its URL.
#[derive(ToSchema)]
pub struct Link {
    /// Begins with the device id.
    #[schema(pattern = "^/[0-9a-fA-F-]{36}/")]
    pub href: String,
    /// Resource types.
    #[schema(min_items = 1)]
    pub rt: Vec<String>,
    /// Interfaces.
    #[schema(min_items = 1)]
    pub r#if: Vec<String>,
    /// Policy.
    pub p: Policy,
    /// Device id.
    #[schema(value_type = String, format = "uuid")]
    pub di: String,
    /// For people.
    pub title: Option<String>,
    /// Media types.
    pub r#type: Option<Vec<String>>,
}

/// What may be done with a link.
#[derive(ToSchema)]
pub struct Policy {
    /// 1: discoverable, 2: observable.
    pub bm: u8,
}

/// The last representation of a resource that is known.
#[derive(ToSchema)]
pub struct Representation {
    /// Begins with the device id.
    #[schema(pattern = "^/[0-9a-fA-F-]{36}/")]
    pub href: String,
    /// What the device has said.
    #[schema(schema_with = content)]
    pub rep: serde_json::Value,
}

/// Why a request failed (RFC 9457).
#[derive(ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says it.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// A sentence for people.
    pub detail: String,
}

/// Why an endpoint of clients refuses (RFC 6749 §5.2).
#[derive(ToSchema)]
pub struct OauthError {
    /// One of the codes of the RFC.
    pub error: String,
    /// A sentence for the developer of the client.
    pub error_description: String,
}

/// Where a resource is.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ResourcePath {
    /// Device id.
    #[param(format = "uuid")]
    pub di: String,
    /// The rest of a link's `href`. It may have several segments, with slashes between them that are
    /// not encoded: that is more than OpenAPI can say.
    #[param(pattern = r"^[^\x00-\x1F\x7F/]*[^\x00-\x1F\x7F/.][^\x00-\x1F\x7F/]*$")]
    pub href: String,
}

/// What lists and devices show.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DevicesQuery {
    /// Links, or the representations of all resources.
    pub content: Option<ContentQuery>,
}

/// What lists and devices show.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ContentQuery {
    /// Links.
    Base,
    /// Representations.
    All,
}

/// An authorization request (RFC 6749 §4.1.1, RFC 7636).
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuthorizationQuery {
    /// `code`.
    pub response_type: String,
    /// Of the registration.
    pub client_id: String,
    /// One of the registration, character by character.
    pub redirect_uri: String,
    /// Separated by spaces: `r:*`, `w:*`, `offline_access`.
    pub scope: String,
    /// Comes back as it is.
    pub state: Option<String>,
    /// SHA-256 of the verifier, in base64url.
    pub code_challenge: Option<String>,
    /// `S256`.
    pub code_challenge_method: Option<String>,
}

/// The form of the login page.
#[derive(ToSchema)]
pub struct LoginForm {
    /// The authorization request, as the page has it.
    pub request: String,
    /// What shows that the form is ours, as the page has it.
    pub proof: String,
    /// Name of the login.
    pub name: String,
    /// Password.
    pub password: String,
}

/// The form of the consent page.
#[derive(ToSchema)]
pub struct ConsentForm {
    /// The authorization request, as the page has it.
    pub request: String,
    /// What shows that the form is ours, as the page has it.
    pub proof: String,
    /// `allow` or `deny`.
    #[schema(pattern = "^(allow|deny)$")]
    pub decision: String,
}

/// A token request (RFC 6749 §4.1.3, §6).
#[derive(ToSchema)]
pub struct TokenForm {
    /// `authorization_code` or `refresh_token`.
    #[schema(pattern = "^(authorization_code|refresh_token)$")]
    pub grant_type: String,
    /// With `authorization_code`.
    pub code: Option<String>,
    /// With `authorization_code`: as in the authorization request.
    pub redirect_uri: Option<String>,
    /// With `authorization_code`, if a challenge was sent.
    pub code_verifier: Option<String>,
    /// With `refresh_token`.
    pub refresh_token: Option<String>,
    /// With `refresh_token`: not more than was granted.
    pub scope: Option<String>,
    /// Without HTTP Basic.
    pub client_id: Option<String>,
    /// Without HTTP Basic.
    pub client_secret: Option<String>,
}

/// A token that something is asked of (RFC 7009 §2.1, RFC 7662 §2.1).
#[derive(ToSchema)]
pub struct PresentedForm {
    /// The token.
    #[schema(min_length = 1)]
    pub token: String,
    /// What kind it is; not needed.
    pub token_type_hint: Option<String>,
    /// Without HTTP Basic.
    pub client_id: Option<String>,
    /// Without HTTP Basic.
    pub client_secret: Option<String>,
}

fn links() -> impl Into<RefOr<Schema>> {
    let either = AnyOfBuilder::new()
        .item(Ref::from_schema_name("Link"))
        .item(Ref::from_schema_name("Representation"));
    ArrayBuilder::new().items(either)
}

/// What devices say: an object, or the list of a collection.
pub(crate) fn content() -> impl Into<RefOr<Schema>> {
    let of = |kind| ObjectBuilder::new().schema_type(SchemaType::Type(kind)).build();
    let list = ArrayBuilder::new().items(Object::with_type(SchemaType::AnyValue));
    AnyOfBuilder::new().item(of(Type::Object)).item(list)
}

/// A representation, as JSON.
pub struct Content;

impl utoipa::PartialSchema for Content {
    fn schema() -> RefOr<Schema> {
        content().into()
    }
}

impl ToSchema for Content {
    fn name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }
}
