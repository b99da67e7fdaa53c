//! The resource directory: what a device publishes, and what others discover of it
//! (device reference 8 and 9).
//!
//! A device's links are one rkyv archive, which is what the store keeps as well. Every link stands in
//! it as the CBOR that discovery returns, except for the parts that differ from answer to answer
//! (anchor, device id, endpoint), which are spliced in: discovery is a sequence of memory copies.
//!
//! [`archive`] is the archive and its only `unsafe`; [`publish`] decides what a publish or unpublish
//! changes; [`expiry`] says when links expire; [`discovery`] answers GET `/oic/res`; [`query`] is its filter.

pub mod archive;
pub mod discovery;
pub mod expiry;
pub mod publish;
pub mod query;

pub use archive::{Directory, LinkRef};
