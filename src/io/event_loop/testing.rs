//! An event loop's shared half for tests, with what clients need of its tasks.

use std::path::Path;

use super::*;

/// Returns what sessions share, with default settings; has to be called within a `LocalSet`.
pub(crate) fn shared() -> Rc<Shared> {
    let parsed = Config::parse(Path::new("bridge.toml"), "", &|_| None);
    let (config, _) = parsed.unwrap();
    let hub = Hub::new(config.broker.limits.clone(), Vec::new());
    let bridge = Bridge::new(Arc::clone(&config.routes), Arc::clone(&config.gateway), 0);
    let clock = Arc::new(Wall::new(&config.clock));
    let workers = Workers::new(&[], &clock, Arc::new(|_, _| {})).unwrap();
    let logins = Logins::new(&config.broker, config.users);
    let storing = storing::Storing::new(None, Arc::new(|_| {}));
    let gateway = Gateway::new(hub, bridge, workers, storing, clock);
    let shared = Rc::new(Shared::new(gateway, logins, &config.broker));
    tokio::task::spawn_local(rouse(Rc::clone(&shared)));
    shared
}
