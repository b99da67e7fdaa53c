//! The device reference, executed. One file per part of it; and what shards do for the
//! authorization server.

mod accounts;
mod authorization;
mod blockwise;
mod certificates;
mod claims;
mod conformance;
mod d2d;
mod departures;
mod directory;
mod discovery;
mod events;
mod events_ends;
mod failures;
mod framing;
mod isolation;
mod limits;
mod messages;
mod moves;
mod observe;
mod observe_ends;
mod routing;
mod sessions;
mod sign_off;
mod signaling;
mod storms;
mod tokens;
mod vectors;
mod watching;
