//! Other endpoints for workers that run: those that stay as they are keep everything.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Client, Crew, Ledger, Workers, crew, named, surroundings};
use crate::core::endpoint::Endpoint;
use crate::io::tls;

/// Endpoints that can be adopted.
pub(crate) struct Prepared {
    endpoints: Vec<(Arc<Endpoint>, Arc<Ledger>)>,
    /// Those that are new, or not as they were.
    crews: HashMap<String, Arc<Crew>>,
}

impl Workers {
    /// Returns what prepares endpoints, which takes its time: it reads the roots of those that are
    /// new or have changed, and starts no thread. With an error, which names the endpoint and the
    /// file that is wrong, nothing has happened.
    pub(crate) fn prepare(
        &self,
        endpoints: &[Arc<Endpoint>],
    ) -> impl FnOnce() -> Result<Prepared, String> + Send + use<> {
        let ledger = |endpoint: &Arc<Endpoint>| {
            let mut known = self.ledgers.iter();
            let known = known.find(|(known, _)| known.name == endpoint.name);
            match known {
                Some((before, ledger)) => (Arc::clone(ledger), before == endpoint),
                None => (Arc::new(Ledger::new(Arc::clone(&self.met))), false),
            }
        };
        let plan: Vec<_> = endpoints
            .iter()
            .map(|endpoint| (Arc::clone(endpoint), ledger(endpoint)))
            .collect();
        let (resolver, done) = (Arc::clone(&self.resolver), Arc::clone(&self.done));
        let clock = Arc::clone(&self.clock);
        move || {
            let surroundings = surroundings(&resolver, &clock);
            let mut crews = HashMap::new();
            for (endpoint, (ledger, stays)) in &plan {
                if *stays {
                    continue;
                }
                let named = |error: String| named(endpoint, &error);
                let tls = tls::client::Client::load(&endpoint.trust, &surroundings);
                let tls = tls.map_err(named)?;
                let ledger = Arc::clone(ledger);
                let client = Client::new(Arc::clone(endpoint), tls, Arc::clone(&resolver), ledger);
                let crew = crew(endpoint, Box::new(client), Arc::clone(&done));
                crews.insert(endpoint.name.clone(), Arc::new(crew));
            }
            let endpoints = plan
                .into_iter()
                .map(|(endpoint, (ledger, _))| (endpoint, ledger));
            Ok(Prepared {
                endpoints: endpoints.collect(),
                crews,
            })
        }
    }

    /// Works for these endpoints from now on, which were prepared since the last call. What the
    /// workers of others have been given they finish.
    pub(crate) fn adopt(&mut self, prepared: Prepared) {
        self.rouse();
        let Prepared { endpoints, crews } = prepared;
        self.crews
            .retain(|name, _| endpoints.iter().any(|(endpoint, _)| endpoint.name == *name));
        self.crews.extend(crews);
        self.ledgers = endpoints;
    }
}
