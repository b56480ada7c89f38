//! Who holds which topic filter.
//!
//! Decides which sessions a topic reaches, and which member of a shared subscription is next.
//! Whether a session may hold a filter, and what it is sent, is left to the hub.

mod children;
mod tree;

use std::sync::Arc;

use crate::core::memory::ENTRY;
use crate::core::message::QoS;
use crate::core::session::SessionId;
use crate::core::topic::TopicFilter;

pub(crate) use tree::FilterTree;
#[cfg(test)]
pub(crate) use tree::STEPS;

/// Most levels of a topic or topic filter: bounds how deep a tree can get.
pub(crate) const MAX_LEVELS: usize = 128;

/// What one node of the tree takes with its name, about.
const NODE: usize = 200;
const _: () = assert!(NODE >= tree::node_bytes::<Holders>());

/// Returns whether a topic or topic filter has more than [`MAX_LEVELS`] levels.
pub(crate) fn is_too_deep(text: &str) -> bool {
    text.split('/').nth(MAX_LEVELS).is_some()
}

/// A filter as subscribed to: alone, or as a member of a group (`$share/<group>/<filter>`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Filter {
    /// The group of a shared subscription.
    pub(crate) group: Option<Arc<str>>,
    /// What is matched.
    pub(crate) filter: TopicFilter,
}

impl Filter {
    /// Parses the filter of a SUBSCRIBE or UNSUBSCRIBE, `None` if it is malformed or too deep.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (group, filter) = match text.strip_prefix("$share/") {
            Some(shared) => {
                let (group, filter) = shared.split_once('/')?;
                if group.is_empty() || group.contains(['+', '#']) {
                    return None;
                }
                (Some(group.into()), filter)
            }
            None if text == "$share" => return None,
            None => (None, text),
        };
        if is_too_deep(filter) {
            return None;
        }
        let filter = TopicFilter::parse(filter).ok()?;
        Some(Self { group, filter })
    }

    /// Returns about how many bytes it takes to hold this filter, where no other session holds one
    /// like it: a place in the session and one in the tree, its text in both, and nodes.
    pub(crate) fn cost(&self) -> usize {
        let group = self.group.as_ref().map_or(0, |group| group.len());
        let text = self.filter.as_str();
        let nodes = text.split('/').count() * NODE;
        ENTRY + 2 * (group + text.len()) + nodes
    }
}

/// One session's subscription to one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Highest QoS to deliver at.
    pub(crate) qos: QoS,
    /// Not one's own messages.
    pub(crate) no_local: bool,
    /// Keep the RETAIN flag.
    pub(crate) retain_as_published: bool,
    /// Subscription Identifier.
    pub(crate) id: Option<u32>,
}

/// How well a member of a shared subscription can take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// Not at all: it may not hear it, or would miss it.
    Unfit,
    /// Later, when it comes again.
    Away,
    /// Now.
    Present,
}

/// All subscriptions of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    tree: FilterTree<Holders>,
}

/// Who holds one filter.
#[derive(Debug, Default)]
struct Holders {
    members: Members,
    groups: Vec<Group>,
}

/// Sessions and their subscriptions, sorted by session.
type Members = Vec<(SessionId, Subscription)>;

/// A shared subscription.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    members: Members,
    /// Index of the member whose turn it is.
    turn: usize,
}

impl Subscriptions {
    /// Adds or replaces a subscription. Returns whether it is new.
    pub(crate) fn insert(
        &mut self,
        filter: &Filter,
        session: SessionId,
        subscription: Subscription,
    ) -> bool {
        let holders = self.tree.place(&filter.filter).get_or_insert_default();
        let members = match &filter.group {
            None => &mut holders.members,
            Some(name) => holders.group(name),
        };
        match members.binary_search_by_key(&session, |(id, _)| *id) {
            Ok(index) => {
                if let Some((_, held)) = members.get_mut(index) {
                    *held = subscription;
                }
                false
            }
            Err(index) => {
                members.insert(index, (session, subscription));
                true
            }
        }
    }

    /// Removes a subscription. Returns whether there was one.
    pub(crate) fn remove(&mut self, filter: &Filter, session: SessionId) -> bool {
        let mut removed = false;
        self.tree.edit(&filter.filter, |place| {
            if let Some(holders) = place {
                removed = holders.remove(filter.group.as_ref(), session);
                if holders.members.is_empty() && holders.groups.is_empty() {
                    *place = None;
                }
            }
        });
        removed
    }

    /// Returns a session's subscription to a filter.
    pub(crate) fn held(&mut self, filter: &Filter, session: SessionId) -> Option<Subscription> {
        let mut found = None;
        self.tree.edit(&filter.filter, |place| {
            let Some(holders) = place else { return };
            let members = match &filter.group {
                None => Some(&holders.members),
                Some(name) => {
                    let mut groups = holders.groups.iter();
                    groups.find(|own| own.name == *name).map(|own| &own.members)
                }
            };
            let mut members = members.into_iter().flatten();
            found = members
                .find(|(id, _)| *id == session)
                .map(|(_, held)| *held);
        });
        found
    }

    /// Calls `found` with each subscription that the topic reaches, and whether it is a shared one:
    /// of a group, one member's.
    ///
    /// Members take turns; one who is not `connected` gets a turn only where nobody is.
    pub(crate) fn visit(
        &mut self,
        topic: &str,
        fitness: &dyn Fn(SessionId, &Subscription) -> Fitness,
        found: &mut dyn FnMut(SessionId, &Subscription, bool),
    ) {
        self.tree.visit(topic, &mut |holders| {
            for (session, subscription) in &holders.members {
                found(*session, subscription, false);
            }
            for group in &mut holders.groups {
                if let Some((session, subscription)) = group.choose(fitness) {
                    found(*session, subscription, true);
                }
            }
        });
    }

    /// Returns whether nothing is stored.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }
}

impl Holders {
    fn group(&mut self, name: &Arc<str>) -> &mut Members {
        let index = match self.groups.iter().position(|group| group.name == *name) {
            Some(index) => index,
            None => {
                self.groups.push(Group {
                    name: Arc::clone(name),
                    members: Vec::new(),
                    turn: 0,
                });
                self.groups.len() - 1
            }
        };
        #[expect(
            clippy::indexing_slicing,
            reason = "the index was found or made just above"
        )]
        &mut self.groups[index].members
    }

    fn remove(&mut self, group: Option<&Arc<str>>, session: SessionId) -> bool {
        let Some(name) = group else {
            return remove_member(&mut self.members, session);
        };
        let Some(index) = self.groups.iter().position(|group| group.name == *name) else {
            return false;
        };
        let group = self.groups.get_mut(index);
        let removed = group.is_some_and(|group| remove_member(&mut group.members, session));
        self.groups.retain(|group| !group.members.is_empty());
        removed
    }
}

fn remove_member(members: &mut Members, session: SessionId) -> bool {
    match members.binary_search_by_key(&session, |(id, _)| *id) {
        Ok(index) => {
            members.remove(index);
            true
        }
        Err(_) => false,
    }
}

impl Group {
    /// Returns the first in turn of those that are fittest.
    fn choose(
        &mut self,
        fitness: &dyn Fn(SessionId, &Subscription) -> Fitness,
    ) -> Option<&(SessionId, Subscription)> {
        let (before, after) = self.members.split_at_checked(self.turn).unwrap_or_default();
        let in_turn = (self.turn..).zip(after).chain((0..).zip(before));
        let mut chosen = (Fitness::Unfit, 0);
        for (index, (session, held)) in in_turn {
            let own = fitness(*session, held);
            if own > chosen.0 {
                chosen = (own, index);
            }
            if own == Fitness::Present {
                break;
            }
        }
        let (best, chosen) = chosen;
        if best == Fitness::Unfit {
            return None;
        }
        self.turn = (chosen + 1) % self.members.len().max(1);
        self.members.get(chosen)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn subscription(qos: QoS) -> Subscription {
        Subscription {
            qos,
            no_local: false,
            retain_as_published: false,
            id: None,
        }
    }

    fn holders(subscriptions: &mut Subscriptions, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        subscriptions.visit(topic, &|_, _| Fitness::Present, &mut |session, _, _| {
            found.push(session.0);
        });
        found.sort_unstable();
        found
    }

    #[test]
    fn filters_are_parsed_with_their_group() {
        let parts = |text: &str| {
            Filter::parse(text).map(|own| {
                let group = own.group.as_deref().map(str::to_owned);
                (group, own.filter.as_str().to_owned())
            })
        };
        let shared = |group: &str, filter: &str| Some((Some(group.to_owned()), filter.to_owned()));
        assert_eq!(parts("$share/g/a/#"), shared("g", "a/#"));
        assert_eq!(parts("$share/g//"), shared("g", "/"));
        assert_eq!(parts("$shared/g/a"), Some((None, "$shared/g/a".to_owned())));
        assert_eq!(parts("$share/g#/a"), None);
        assert!(parts(&"/".repeat(MAX_LEVELS - 1)).is_some());
        assert!(parts(&"/".repeat(MAX_LEVELS)).is_none());
    }

    #[test]
    fn a_member_that_is_absent_gets_a_turn_only_where_nobody_is_there() {
        let mut subscriptions = Subscriptions::default();
        let filter = Filter::parse("$share/g/t").unwrap();
        for session in 0..3 {
            subscriptions.insert(&filter, SessionId(session), subscription(QoS::AtLeastOnce));
        }
        let mut turns = |present: &[usize]| {
            let mut found = Vec::new();
            for _ in 0..4 {
                let is_there =
                    |session: SessionId, _: &Subscription| match present.contains(&session.0) {
                        true => Fitness::Present,
                        false => Fitness::Away,
                    };
                subscriptions.visit("t", &is_there, &mut |session, _, _| found.push(session.0));
            }
            found
        };
        assert_eq!(turns(&[0, 1, 2]), [0, 1, 2, 0]);
        assert_eq!(turns(&[0, 2]), [2, 0, 2, 0]);
        assert_eq!(turns(&[]), [1, 2, 0, 1]);
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_obvious_matcher(
            filters in proptest::collection::vec((0..4_usize, "[ab+#$é/]{1,6}"), 0..30),
            removed in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
            topic in "[ab$é/]{1,6}",
        ) {
            let mut held = BTreeSet::new();
            let mut subscriptions = Subscriptions::default();
            for (session, text) in &filters {
                if let Some(filter) = Filter::parse(text) {
                    let is_new = held.insert((filter.clone(), *session));
                    let own = subscription(QoS::AtMostOnce);
                    let inserted = subscriptions.insert(&filter, SessionId(*session), own);
                    prop_assert_eq!(inserted, is_new);
                }
            }
            for index in removed {
                if filters.is_empty() { break }
                let (session, text) = index.get(&filters);
                if let Some(filter) = Filter::parse(text) {
                    let was_there = held.remove(&(filter.clone(), *session));
                    prop_assert_eq!(
                        subscriptions.remove(&filter, SessionId(*session)), was_there
                    );
                }
            }
            let matching = held.iter().filter(|(own, _)| own.filter.matches(&topic));
            let mut expected: Vec<_> = matching.map(|(_, session)| *session).collect();
            expected.sort_unstable();
            prop_assert_eq!(holders(&mut subscriptions, &topic), expected.clone());
            prop_assert_eq!(subscriptions.tree.matches(&topic), !expected.is_empty());
            for (filter, session) in &held {
                prop_assert!(subscriptions.remove(filter, SessionId(*session)));
            }
            prop_assert!(subscriptions.is_empty());
        }
    }
}
