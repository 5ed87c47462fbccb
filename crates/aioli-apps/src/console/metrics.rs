//! `/metrics`: the counters in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use aioli_node::embed::View;

use super::model::Level;
use super::words;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters of [`aioli_router::Stats`] that say how it is now, though they are no size of a table.
const GAUGES: &[&str] = &["ssu2_sessions", "tunnels_in", "tunnels_out", "proven_peers", "newcomers"];

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        self.value(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.value(name, "", value);
    }
}

/// All metrics of a router; without one, that there is none.
pub(crate) fn text(view: Option<&View>) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    let ready = words::state(view.map(|v| &v.router)).level == Level::Good;
    text.gauge("aioli_ready", "Whether the router can be used.", u8::from(ready));
    if let Some(view) = view {
        described(&mut text, view);
        by_name(&mut text, view);
    }
    text.0
}

/// What has labels, or another unit than the counters.
fn described(text: &mut Text, view: &View) {
    let (router, s) = (&view.router, &view.router.stats);
    text.head("aioli_info", "gauge", "The program.");
    text.value("aioli_info", &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
    text.gauge("aioli_uptime_seconds", "Since the start.", router.uptime.as_secs());
    text.gauge(
        "aioli_clock_offset_seconds",
        "True time minus the machine's.",
        router.clock_offset_ms as f64 / 1_000.0,
    );
    if let Some(time) = router.tunnel_round_trip {
        text.gauge(
            "aioli_tunnel_round_trip_seconds",
            "Time through two tunnels, smoothed.",
            time.as_secs_f64(),
        );
    }
    text.head("aioli_reachability", "gauge", "Whether others reach the router, 1 at the state that holds.");
    for told in &router.families {
        let labels = format!("{{family=\"{}\",state=\"{}\"}}", told.family, told.state.word());
        text.value("aioli_reachability", &labels, 1);
    }
    text.head("aioli_traffic_bytes_total", "counter", "Bytes from and to other routers.");
    for (direction, bytes) in [("in", s.bytes_in), ("out", s.bytes_out), ("relayed", s.transit_bytes_sent)] {
        text.value("aioli_traffic_bytes_total", &format!("{{direction=\"{direction}\"}}"), bytes);
    }
    text.head("aioli_tunnel_builds_total", "counter", "Tunnels that were asked for, by what came of them.");
    for (outcome, n) in [
        ("succeeded", s.builds_succeeded),
        ("refused", s.builds_refused),
        ("timed_out", s.builds_timed_out),
        ("failed", s.builds_failed),
    ] {
        text.value("aioli_tunnel_builds_total", &format!("{{outcome=\"{outcome}\"}}"), n);
    }
    let limits = &router.limits;
    text.gauge("aioli_sessions_limit", "Sessions with other routers at most.", limits.connections);
    text.gauge("aioli_transit_tunnels_limit", "Others' tunnels at most.", limits.transit_tunnels);
    text.gauge("aioli_known_routers_limit", "RouterInfos known at most.", limits.routers);
    for (limit, rate) in [("in", router.bandwidth.inbound), ("out", router.bandwidth.outbound)] {
        if let Some(rate) = rate {
            let name = format!("aioli_bandwidth_limit_{limit}_bytes");
            text.gauge(&name, "Bytes a second at most.", rate);
        }
    }
}

/// All counters by their names.
fn by_name(text: &mut Text, view: &View) {
    let stats = &view.router.stats;
    let tables: Vec<_> = stats.tables().into_iter().map(|(name, _)| name).collect();
    for (name, value) in stats.counters() {
        let help = format!("Counter {name} of the router, see docs/monitoring.md.");
        if tables.contains(&name) || GAUGES.contains(&name) {
            text.gauge(&format!("aioli_{name}"), &help, value);
        } else {
            text.counter(&format!("aioli_{name}_total"), &help, value);
        }
    }
    let (sam, udp, embed) = (&view.sam, &view.udp, &view.embed);
    text.gauge("aioli_sam_connections", "Connections to SAM now.", sam.connections);
    text.gauge("aioli_sam_sessions", "Sessions of SAM now.", sam.sessions);
    text.gauge("aioli_app_streams", "Streams of the proxies and tunnels now.", embed.streams);
    for (name, help, value) in [
        ("sam_refused_connections", "Connections to SAM refused.", sam.refused_connections),
        ("sam_bad_lines", "Lines that are no command of SAM.", sam.bad_lines),
        ("sam_silent_connections", "Connections to SAM without a HELLO in time.", sam.silent_connections),
        ("sam_refused_streams", "Streams to SAM that nobody took.", sam.refused_streams),
        ("udp_received", "Datagrams received.", udp.received),
        ("udp_sent", "Datagrams sent.", udp.sent),
        ("udp_send_calls", "System calls that sent datagrams.", udp.send_calls),
        ("udp_receive_calls", "System calls that received datagrams.", udp.receive_calls),
        ("udp_too_large", "Datagrams larger than the path takes.", udp.too_large),
        ("udp_unreachable", "Datagrams without a way to their receiver.", udp.unreachable),
        ("udp_unsendable", "Datagrams not sent for other reasons.", udp.unsendable),
        ("app_refused_streams", "Streams that no proxy or tunnel took.", embed.refused_streams),
        ("app_refused_lookups", "Look-ups of proxies and tunnels refused.", embed.refused_lookups),
    ] {
        text.counter(&format!("aioli_{name}_total"), help, value);
    }
}
