//! List (D1, D2) and read (D3, D4) devices (cloud reference 4.1 to 4.7).
//!
//! `object` writes a device as consumers see it, `pages` gets devices from their shard, and here a
//! list becomes an answer: at once if it came in one page, else piece by piece, so that neither the
//! number of devices nor a slow reader costs memory.

mod description;
mod object;
mod pages;

use axum::response::Response;
use shared::channel::message::{Content, DeviceView};
use shared::ids::DeviceId;
use tokio::sync::OwnedSemaphorePermit;

use crate::body::{PieceWriter, pieces, representation};
use crate::config::millis;
use crate::docs::failures;
use crate::docs::schemas::{Device, DevicesQuery};
use crate::problem::Problem;
use crate::query;
use crate::representation::{Encoder, MediaType, negotiate};
use crate::router::Asked;
use object::write_device;
pub(crate) use object::write_link;
use pages::{Page, Pages};

/// Bytes of a list that are gathered before they are sent.
const PIECE_BYTES: usize = 64 << 10;

/// List the devices of the user
///
/// All of them, whether they are online or not, in ascending order of their ids.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices",
    params(DevicesQuery),
    responses((status = 200, description = "Links, or representations with `content=all`",
               content((Vec<Device> = "application/json"),
                       (Vec<u8> = "application/vnd.ocf+cbor"))),
              failures::OfDevices),
    security(("bearer" = ["r:*"])))]
pub async fn list(asked: Asked) -> Result<Response, Problem> {
    let (media_type, content) = wishes(&asked)?;
    let Ok(permit) = asked.app.lists.clone().try_acquire_owned() else {
        return Err(Problem::overloaded());
    };
    let within = millis(asked.app.timeouts.write_ms);
    let pages = Pages::new(asked.app, asked.caller, content);
    // The first page decides about the status.
    let first = pages.first().await?;
    let mut list = List { encoder: Encoder::new(media_type), content, written: 0 };
    let Some(last) = first.more_behind else {
        list.encoder.begin_list(first.devices.len());
        first.devices.iter().for_each(|device| list.write(device));
        list.encoder.end_list();
        return Ok(representation(media_type, list.encoder.take()));
    };
    let devices = match media_type {
        MediaType::Json => None,
        // CBOR says first how many devices follow.
        MediaType::OcfCbor | MediaType::Cbor => {
            Some(first.devices.len() + pages.count_behind(last).await?)
        }
    };
    let (writer, body) = pieces(within);
    tokio::spawn(list.write_pages(pages, first, devices, writer, permit));
    let mut response = representation(media_type, Vec::new());
    *response.body_mut() = body;
    Ok(response)
}

/// Read one device
#[utoipa::path(get, path = "/api/v1/devices/{di}", tag = "devices",
    params(("di" = String, Path, format = "uuid", description = "Device id"), DevicesQuery),
    responses((status = 200, description = "Links, or representations with `content=all`",
               content((Device = "application/json"),
                       (Vec<u8> = "application/vnd.ocf+cbor"))),
              failures::OfDevice),
    security(("bearer" = ["r:*"])))]
pub async fn read(asked: Asked, device: DeviceId) -> Result<Response, Problem> {
    let (media_type, content) = wishes(&asked)?;
    let view = Pages::new(asked.app, asked.caller, content).device(device).await?;
    let mut encoder = Encoder::new(media_type);
    write_device(&mut encoder, &view, content);
    Ok(representation(media_type, encoder.take()))
}

fn wishes(asked: &Asked) -> Result<(MediaType, Content), Problem> {
    asked.caller.must_read()?;
    let content = query::content(asked.parts.uri.query())?;
    let media_type = negotiate(&asked.parts.headers).ok_or_else(Problem::not_acceptable)?;
    Ok((media_type, content))
}

/// A list that is being written.
struct List {
    encoder: Encoder,
    content: Content,
    written: usize,
}

impl List {
    fn write(&mut self, device: &DeviceView) {
        write_device(&mut self.encoder, device, self.content);
        self.written += 1;
    }

    /// Writes all pages. Where that fails, the body breaks off.
    async fn write_pages(
        mut self,
        pages: Pages,
        mut page: Page,
        devices: Option<usize>,
        writer: PieceWriter,
        permit: OwnedSemaphorePermit,
    ) {
        // A list of known length leaves out who came after it was counted.
        let length = devices.unwrap_or(usize::MAX);
        self.encoder.begin_list(length);
        loop {
            for device in page.devices.iter().take(length - self.written) {
                self.write(device);
                if self.encoder.pending_bytes() >= PIECE_BYTES
                    && writer.write(self.encoder.take()).await.is_err()
                {
                    return;
                }
            }
            page = match page.more_behind {
                Some(last) if self.written < length => match pages.behind(last).await {
                    Ok(page) => page,
                    Err(problem) => {
                        tracing::warn!(?problem, "a list of devices breaks off");
                        return;
                    }
                },
                _ => break,
            };
        }
        if devices.is_some_and(|devices| self.written < devices) {
            tracing::info!("a list of devices breaks off: a device left while it was written");
            return;
        }
        self.encoder.end_list();
        if writer.write(self.encoder.take()).await.is_ok() {
            // Whoever read it all may have gone by now.
            let _complete = writer.end().await;
        }
        drop(permit);
    }
}
