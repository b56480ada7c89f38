//! Routes that go to another endpoint, go, and come back, while their messages are anywhere.

use super::*;

/// An endpoint of this name and with this host, which does one thing at a time.
fn at(name: &'static str, host: &'static str) -> Arc<Endpoint> {
    endpoint(name, |it| {
        it.url = format!("https://{host}.example.com");
        it.conduct.retry.attempts = None;
        it.conduct.pause = true;
    })
}

/// A route `{x}/{n}` to an endpoint.
fn to(api: &Arc<Endpoint>) -> RouteBuilder {
    keeping("{x}/{n}", |_| {}).with(|it| it.endpoint = Arc::clone(api))
}

/// A reload with a route to this endpoint, or without it.
fn reload(world: &mut World, api: Option<&Arc<Endpoint>>) {
    let api = api.cloned();
    world.routes = Arc::new(move || match &api {
        Some(api) => vec![to(api), route("z")],
        None => vec![route("z")],
    });
    let table = (world.routes)().into_iter().map(RouteBuilder::build);
    world.handle(Event::Routes(Arc::new(RouteTable::new(table.collect()))));
}

/// Where each request that is with a worker goes: endpoint and target.
fn running(world: &World) -> Vec<String> {
    let jobs = world.running.iter();
    let text = |job: &Job| format!("{}{}", job.endpoint.name, job.request.target);
    jobs.map(text).collect()
}

/// Two messages of one client to an endpoint `a`: the first is with a worker.
fn two_messages() -> World {
    let mut world = World::new(|| vec![to(&at("a", "one"))]);
    for number in 1..=2 {
        world.publish("c", &format!("c/{number}"), number);
    }
    world.flush();
    assert_eq!(running(&world), ["a/c/1"]);
    world
}

#[test]
fn what_waits_for_another_endpoint_waits_for_what_is_with_the_old_one() {
    let mut world = two_messages();
    reload(&mut world, Some(&at("b", "two")));
    world.publish("c", "c/3", 3);
    world.publish("d", "d/1", 4);
    world.flush();
    assert_eq!(running(&world), ["a/c/1", "b/d/1"], "others need not wait");
    world.finish(0, 200);
    world.flush();
    assert_eq!(running(&world), ["b/d/1", "b/c/2"]);
    world.finish(1, 200);
    world.flush();
    assert_eq!(running(&world), ["b/d/1", "b/c/3"]);
}

#[test]
fn what_fails_at_the_old_endpoint_is_first_at_the_new_one() {
    for code in [Code::ConnectRefused, Code::TlsExpired] {
        let mut world = two_messages();
        reload(&mut world, Some(&at("b", "two")));
        world.fail(code);
        world.flush();
        assert_eq!(running(&world), ["b/c/1"], "at once");
        world.finish(0, 200);
        world.flush();
        assert_eq!(running(&world), ["b/c/2"]);
    }
}

#[test]
fn order_is_kept_when_a_route_goes_on_and_comes_back() {
    let (a, b) = (at("a", "one"), at("b", "two"));
    for ways in [[Some(&b), Some(&a)], [None, Some(&b)], [None, Some(&a)]] {
        for fails in [false, true] {
            let mut world = two_messages();
            for way in ways {
                reload(&mut world, way);
                world.flush();
                assert_eq!(running(&world), ["a/c/1"]);
            }
            if fails {
                world.fail(Code::ConnectRefused);
            } else {
                world.finish(0, 200);
            }
            world.flush();
            world.wait(SECOND * 2);
            world.flush();
            let name = &ways[1].unwrap().name;
            let next = if fails { "/c/1" } else { "/c/2" };
            assert_eq!(running(&world), [format!("{name}{next}")]);
        }
    }
}

#[test]
fn a_value_that_comes_after_the_route_has_gone_elsewhere_goes_there() {
    let mut world = two_messages();
    world.restart();
    assert_eq!(world.loads.len(), 1, "it is read from the disk");
    reload(&mut world, Some(&at("b", "two")));
    assert!(world.running.is_empty());
    world.flush();
    assert_eq!(running(&world), ["b/c/1"]);
}

#[test]
fn what_reaches_the_disk_after_the_route_has_gone_elsewhere_goes_there() {
    let mut world = World::new(|| vec![to(&at("a", "one"))]);
    world.publish("c", "c/1", 1);
    reload(&mut world, Some(&at("b", "two")));
    world.flush();
    assert_eq!(running(&world), ["b/c/1"]);
}

#[test]
fn direct_requests_keep_their_order_too() {
    let direct = |name: &'static str| {
        let api = at(name, name);
        route("{x}/{n}")
            .path("/{x}/{n}")
            .with(|it| it.endpoint = Arc::clone(&api))
            .build()
    };
    let table = |name| Event::Routes(Arc::new(RouteTable::new(vec![direct(name)])));
    let mut world = World::new(|| vec![route("z")]);
    world.handle(table("a"));
    world.publish("c", "c/1", 0);
    world.publish("c", "c/2", 0);
    // Both keep the endpoint that they were meant for, as long as it is there.
    let both = RouteTable::new(vec![direct("b"), {
        let mut other = direct("a");
        other.name = "other".to_owned();
        other
    }]);
    world.handle(Event::Routes(Arc::new(both)));
    world.publish("c", "c/3", 0);
    for expected in ["a/c/1", "a/c/2", "b/c/3"] {
        assert_eq!(running(&world), [expected]);
        world.finish(0, 200);
    }
    assert!(world.scenario.is_empty());
    assert!(world.scenario.bridge.trails.is_empty());
}

#[test]
fn another_server_is_not_held_responsible_for_the_one_before() {
    let mut world = two_messages();
    world.fail(Code::TlsExpired);
    world.flush();
    assert_eq!(
        world.scenario.bridge.endpoints()[0].standing,
        Standing::Paused
    );
    reload(&mut world, Some(&at("a", "two")));
    world.flush();
    assert_eq!(running(&world), ["a/c/1"], "asked at once");
    let standing = |world: &World| world.scenario.bridge.endpoints()[0].standing;
    assert_eq!(standing(&world), Standing::Works);
    reload(&mut world, Some(&at("a", "three")));
    world.fail(Code::TlsExpired);
    world.flush();
    assert_eq!(standing(&world), Standing::Works, "that was another one");
}

#[test]
fn an_endpoint_is_tried_again_when_its_trial_lost_its_route() {
    let api = at("a", "one");
    let mut world = World::new({
        let api = Arc::clone(&api);
        move || vec![to(&api)]
    });
    world.publish("c", "c/1", 1);
    world.flush();
    world.fail(Code::TlsExpired);
    world.flush();
    world.wait(SECOND * 5);
    assert_eq!(world.loads.len(), 1, "it is to find out");
    reload(&mut world, None);
    world.flush();
    assert!(world.running.is_empty());
    reload(&mut world, Some(&api));
    world.flush();
    assert_eq!(running(&world), ["a/c/1"]);
}

#[test]
fn messages_whose_route_is_gone_are_shown_and_told_of() {
    let mut world = two_messages();
    world.take_seen();
    world.scenario.now += SECOND * 60;
    reload(&mut world, None);
    let states = world.scenario.bridge.route_states(world.scenario.now);
    let gone = states.last().unwrap();
    assert_eq!((gone.name.as_str(), &gone.endpoint), ("{x}/{n}", &None));
    assert_eq!((gone.counters.queued, gone.counters.in_flight), (1, 1));
    assert_eq!(gone.oldest, Some(SECOND * 60));
    assert_eq!(
        world.take_seen(),
        ["Orphans { route: \"{x}/{n}\", count: 1 }"]
    );

    // The one that was on its way joins them: alone, that is news.
    let mut world = World::new(|| vec![to(&at("a", "one"))]);
    world.publish("c", "c/1", 1);
    world.flush();
    reload(&mut world, None);
    world.take_seen();
    world.fail(Code::ConnectRefused);
    world.flush();
    assert_eq!(
        world.take_seen(),
        ["Orphans { route: \"{x}/{n}\", count: 1 }"]
    );
    assert_eq!(world.messages(), 1);
    world.restart();
    assert_eq!(
        world.take_seen(),
        ["Orphans { route: \"{x}/{n}\", count: 1 }"]
    );
    let states = world.scenario.bridge.route_states(world.scenario.now);
    assert_eq!(states.last().unwrap().counters.queued, 1);
    reload(&mut world, Some(&at("a", "one")));
    world.flush();
    world.finish(0, 200);
    world.flush();
    let states = world.scenario.bridge.route_states(world.scenario.now);
    assert_eq!(states.len(), 2, "and no more when all is sent");
}

#[test]
fn the_oldest_message_is_shown_wherever_it_waits() {
    let oldest = |world: &World| {
        let states = world.scenario.bridge.route_states(world.scenario.now);
        states[0].oldest
    };
    let mut world = World::simple();
    assert_eq!(oldest(&world), None);
    world.publish("c", "a/1", 1);
    world.scenario.now += SECOND;
    assert_eq!(oldest(&world), Some(SECOND), "on its way to the disk");
    world.flush();
    assert_eq!(oldest(&world), None, "it is sent");
    world.publish("c", "a/2", 2);
    world.flush();
    world.scenario.now += SECOND * 2;
    assert_eq!(oldest(&world), Some(SECOND * 2), "on the disk");
    world.fail(Code::ConnectRefused);
    assert_eq!(oldest(&world), Some(SECOND * 3), "waits again");
    world.restart();
    assert_eq!(oldest(&world), Some(SECOND * 3), "is read from the disk");
    world.scenario.now += SECOND;
    assert_eq!(oldest(&world), Some(SECOND * 4), "the disk is slow");
}

#[derive(Clone, Debug)]
enum Move {
    Step(Step),
    /// A reload that sends the route elsewhere, or takes it away.
    Reload(u8),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        9 => any_step().prop_map(Move::Step),
        1 => (0..5_u8).prop_map(Move::Reload),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_and_order_is_kept_whatever_is_reloaded(
        moves in prop::collection::vec(any_move(), 0..150)
    ) {
        let ways = [at("a", "one"), at("a", "two"), at("b", "one"), at("c", "three")];
        let first = Arc::clone(&ways[0]);
        let mut world = World::new(move || vec![to(&first)]);
        let (mut number, mut acknowledged, mut present) = (0, Vec::new(), true);
        let mut sent: Vec<(String, u16)> = Vec::new();
        let mut moves = moves;
        moves.push(Move::Reload(1));
        for _ in 0..400 {
            let steps = [Step::Commit(true), Step::Load, Step::Probe, Step::Wait(400), Step::Finish(0, 200)];
            moves.extend(steps.map(Move::Step));
        }
        for step in moves {
            match step {
                Move::Reload(way) => {
                    present = usize::from(way) < ways.len();
                    reload(&mut world, ways.get(usize::from(way)));
                }
                // Without the route it is nobody's, and acknowledged as such.
                Move::Step(Step::Publish(_)) if !present => {}
                Move::Step(Step::Publish(client)) => {
                    number += 1;
                    world.publish(&format!("c{client}"), &format!("c{client}/{number}"), number);
                }
                Move::Step(Step::Commit(well)) => drop(world.commit(well)),
                Move::Step(Step::Load) => drop(world.load()),
                Move::Step(Step::Finish(at, status)) => {
                    if let Some(job) = world.finish(at, status) {
                        let mut parts = job.request.target.split('/').skip(1);
                        let client = parts.next().unwrap().to_owned();
                        sent.push((client, parts.next().unwrap().parse().unwrap()));
                    }
                }
                Move::Step(Step::Fail(verdict)) => {
                    let code = if verdict { Code::TlsExpired } else { Code::ConnectRefused };
                    if !world.running.is_empty() {
                        world.fail(code);
                    }
                }
                Move::Step(Step::Wait(more)) => world.wait(Duration::from_secs(more)),
                Move::Step(Step::Restart) => world.restart(),
                Move::Step(Step::Probe) => world.handle(Event::ProbeNow),
            }
            for seen in world.take_seen() {
                if let Some(id) = seen.strip_prefix("acknowledge ") {
                    acknowledged.push(id.split(' ').next().unwrap().parse::<u16>().unwrap());
                }
            }
            let clients = world.running.iter();
            let mut clients: Vec<_> = clients.map(|job| job.request.target.split('/').nth(1)).collect();
            clients.sort_unstable();
            prop_assert!(clients.is_sorted_by(|a, b| a < b), "two at once: {clients:?}");
            for state in world.scenario.bridge.route_states(world.scenario.now) {
                let it = state.counters;
                let parts = it.succeeded + it.failed + it.queued + it.in_flight + it.dropped;
                prop_assert_eq!(it.received, parts);
            }
        }
        world.batches.push_back((Vec::new(), Vec::new()));
        world.commit(true);
        prop_assert_eq!(world.messages(), 0);
        prop_assert!(world.scenario.is_empty());
        prop_assert!(world.scenario.bridge.trails.is_empty());
        let mut last: HashMap<&str, u16> = HashMap::new();
        let mut met = std::collections::HashSet::new();
        for (client, id) in &sent {
            if met.insert(*id) {
                let last = last.insert(client, *id);
                prop_assert!(last.is_none_or(|last| last < *id), "order of {client}: {sent:?}");
            }
        }
        for id in acknowledged {
            prop_assert!(met.contains(&id), "{id} was acknowledged and never sent");
        }
    }
}
