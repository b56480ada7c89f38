//! Routes, messages and publishers for tests, in one line each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::access::Hearing;
use crate::core::bridge::Publisher;
use crate::core::endpoint::{Conduct, Endpoint, IpVersions, Limits, Redirects, Trust};
use crate::core::message::{Message, Properties, QoS};
use crate::core::reply::{Form, Oversize, ReplyPlan};
use crate::core::request::Method;
use crate::core::retry::Retry;
use crate::core::route::{Route, RouteTopic, StatusSet};
use crate::core::secret::Secret;
use crate::core::template::{Place, Scope, Template, TemplateError};
use crate::core::topic::Topic;

/// The value of `{secret.token}` in tests.
pub(crate) const TOKEN: &str = "s3cret\"token";

/// A route in the making.
pub(crate) struct RouteBuilder(Route);

/// Starts a `GET https://api.example.com/x` with replies on `replies/{client}/{outcome}`.
pub(crate) fn route(topic: &str) -> RouteBuilder {
    let topic = RouteTopic::parse(topic).unwrap();
    let template = |text, place| parse(text, &topic, place, false).unwrap();
    RouteBuilder(Route {
        name: topic.text.clone(),
        endpoint: endpoint("api", |_| {}),
        method: Method::Get,
        host: template("api.example.com", Place::Host),
        port: 443,
        path: template("/x", Place::Path),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        limits: Limits {
            timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(12),
            max_response: 65_536,
        },
        success: StatusSet::parse(["2xx"]).unwrap(),
        reply: ReplyPlan {
            topic: parse("replies/{client}/{outcome}", &topic, Place::Topic, true).unwrap(),
            form: Form::Plain,
            select: Vec::new(),
            packet: 256,
            oversize: Oversize::Error,
            retain: false,
            expiry: None,
        },
        reply_qos: QoS::AtMostOnce,
        stored: None,
        topic,
    })
}

/// Parses a template in the scope of a route's topic, with one secret, `token`.
pub(crate) fn parse(
    text: &str,
    topic: &RouteTopic,
    place: Place,
    reply: bool,
) -> Result<Template, TemplateError> {
    let secret = |name: &str| (name == "token").then(|| Secret::new(TOKEN));
    Template::parse(
        text,
        Scope {
            place,
            captures: &topic.captures,
            secret: &secret,
            reply,
        },
    )
}

impl RouteBuilder {
    fn template(&self, text: &str, place: Place, reply: bool) -> Template {
        parse(text, &self.0.topic, place, reply).unwrap()
    }

    pub(crate) fn method(mut self, method: Method) -> Self {
        self.0.method = method;
        self
    }

    pub(crate) fn host(mut self, text: &str) -> Self {
        self.0.host = self.template(text, Place::Host, false);
        self
    }

    pub(crate) fn path(mut self, text: &str) -> Self {
        self.0.path = self.template(text, Place::Path, false);
        self
    }

    pub(crate) fn query(mut self, name: &str, text: &str) -> Self {
        let template = self.template(text, Place::Query, false);
        self.0.query.push((name.to_owned(), template));
        self
    }

    pub(crate) fn header(mut self, name: &str, text: &str) -> Self {
        let template = self.template(text, Place::Header, false);
        self.0.headers.push((name.to_owned(), template));
        self
    }

    pub(crate) fn body(mut self, text: &str) -> Self {
        self.0.body = Some(self.template(text, Place::of_body(text, None), false));
        self
    }

    pub(crate) fn reply(mut self, text: &str) -> Self {
        self.0.reply.topic = self.template(text, Place::Topic, true);
        self
    }

    pub(crate) fn form(mut self, form: Form) -> Self {
        self.0.reply.form = form;
        self
    }

    pub(crate) fn form_template(mut self, text: &str) -> Self {
        self.0.reply.form = Form::Template(self.template(text, Place::of_body(text, None), true));
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Route)) -> Self {
        change(&mut self.0);
        self
    }

    pub(crate) fn build(self) -> Route {
        self.0
    }
}

/// An endpoint with two workers, a queue of 8 and a share of 4; each job has one attempt.
pub(crate) fn endpoint(name: &str, change: impl FnOnce(&mut Endpoint)) -> Arc<Endpoint> {
    let mut endpoint = Endpoint {
        name: name.to_owned(),
        url: "https://api.example.com".to_owned(),
        address: None,
        ip: IpVersions::Both,
        captured_host: false,
        private_addresses: true,
        trust: Trust::default(),
        redirects: Redirects::default(),
        concurrency: 2,
        queue: 8,
        share: 4,
        conduct: Conduct {
            retry: Retry {
                attempts: Some(1),
                ..Retry::default()
            },
            pause: false,
            ..Conduct::default()
        },
    };
    change(&mut endpoint);
    Arc::new(endpoint)
}

/// A message at QoS 0 without properties.
pub(crate) fn message(topic: &str, payload: impl Into<Bytes>) -> Message {
    Message {
        topic: Topic::parse(topic).unwrap(),
        payload: payload.into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
    }
}

/// A message with MQTT 5 properties.
pub(crate) fn message_with(topic: &str, payload: &str, properties: Properties) -> Message {
    Message {
        properties: Some(Arc::new(properties)),
        ..message(topic, payload.to_owned())
    }
}

/// An anonymous client that may hear any Response Topic.
pub(crate) fn publisher(client: &str) -> Publisher {
    Publisher {
        client: client.into(),
        user: None,
        reply_packet: None,
        maximum_packet: None,
        hearing: Hearing::Own,
    }
}
