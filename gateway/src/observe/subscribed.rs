//! Resources to which partner clouds are subscribed: the one observation on the device serves them
//! like everybody else who observes (cloud reference 5.2).

use shared::coap::{RequestType, Response};
use shared::ids::{DeviceId, Href};

use super::Target;
use crate::account::DeviceKey;
use crate::proxy::forwards::NotSent;
use crate::proxy::translate::OwnRequest;
use crate::proxy::{Purpose, Router};

/// What a device has said of a resource to which somebody is subscribed.
pub struct Sample {
    /// Which device.
    pub device: DeviceId,
    /// The number of the link.
    pub instance: u32,
    /// CBOR.
    pub body: Vec<u8>,
}

impl Router {
    /// Observes a resource for subscriptions, if that is not done already. With `refresh` the present
    /// representation comes in any case, as far as anybody knows it.
    pub fn watch(&mut self, device: DeviceKey, href: &Href, refresh: bool) -> Result<(), NotSent> {
        if self.accounts[device].connection.is_none() {
            if refresh {
                self.sample_what_is_known(device, href.instance());
            }
            return Ok(());
        }
        let target = Target::of_link(href);
        let until = self.now + self.timers.request;
        let mut request = OwnRequest {
            method: RequestType::Get,
            href: href.as_str(),
            queries: &[],
            observe: None,
            body: &[],
        };
        if let Some(key) = self.observations.find(self.accounts[device].traffic.upstreams, &target)
        {
            self.observations.set_subscribed(key, true);
            // One that is being registered brings it anyway.
            if refresh && self.observations.upstream(key).running {
                let purpose = Purpose::Sample { device, instance: href.instance() };
                self.ask_own(device, purpose, until, &request)?;
            }
            return Ok(());
        }
        let traffic = &mut self.accounts[device].traffic;
        if usize::from(traffic.upstream_count) >= self.limits.observations_per_device_max {
            return Err(NotSent::QueueFull);
        }
        let upstream = self.observations.add_upstream(device, target, &mut traffic.upstreams);
        traffic.upstream_count += 1;
        request.observe = Some(0);
        match self.ask_own(device, Purpose::Observe(upstream), until, &request) {
            Ok(exchange) => {
                if let Some(exchange) = exchange {
                    self.observations.set_exchange(upstream, exchange);
                }
                self.observations.set_subscribed(upstream, true);
                Ok(())
            }
            Err(error) => {
                self.remove_upstream(upstream);
                Err(error)
            }
        }
    }

    /// Nobody is subscribed to a resource any more.
    pub fn unwatch(&mut self, device: DeviceKey, href: &Href) {
        let first = self.accounts[device].traffic.upstreams;
        if let Some(key) = self.observations.find(first, &Target::of_link(href)) {
            self.observations.set_subscribed(key, false);
            self.cancel_unobserved(key);
        }
    }

    /// A device has said something of a resource to which somebody is subscribed.
    pub(crate) fn sample(
        &mut self,
        device: DeviceKey,
        instance: Option<u32>,
        response: &Response<'_>,
    ) {
        let Some(instance) = instance.filter(|_| self.is_representation(response)) else { return };
        let (device, body) = (self.accounts[device].id, response.payload.to_vec());
        self.samples.push(Sample { device, instance, body });
    }

    /// Of a device that is not there the last representation is the present one.
    fn sample_what_is_known(&mut self, device: DeviceKey, instance: u32) {
        let projection = self.accounts[device].traffic.projection.as_ref();
        if let Some(known) = projection.and_then(|projection| projection.get(instance)) {
            let (device, body) = (self.accounts[device].id, known.body.to_vec());
            self.samples.push(Sample { device, instance, body });
        }
    }
}
