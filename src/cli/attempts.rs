//! What a machine tried to reach, as JSON for `husk inspect` and `husk run --json`.

use serde_json::{Value, json};

use crate::spec::{Attempt, EgressPolicy, time};

/// A list, in the order in which it was tried first; `egress` has the rules by which it was judged.
pub fn to_json(attempts: &[Attempt], egress: &EgressPolicy) -> Value {
    let list = attempts.iter().map(|attempt| one_to_json(attempt, egress));
    list.collect()
}

fn one_to_json(attempt: &Attempt, egress: &EgressPolicy) -> Value {
    let transport = match (attempt.carrier, &attempt.name) {
        (Some(carrier), _) => carrier.to_string(),
        (None, Some(_)) => "dns".to_owned(),
        (None, None) => "others".to_owned(),
    };
    let port = attempt.peer.map_or(0, |peer| peer.port());
    json!({
        "Transport": transport,
        "Address": attempt.peer.map(|peer| peer.ip().to_string()).unwrap_or_default(),
        "Port": port,
        "Name": attempt.name.as_deref().unwrap_or_default(),
        "Verdict": if attempt.verdict.allows { "allowed" } else { "refused" },
        "Rule": attempt.verdict.why.describe(egress),
        "Count": attempt.count,
        "First": time::show(attempt.first),
        "Last": time::show(attempt.last),
        "Sent": attempt.sent,
        "Received": attempt.received,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Carrier, Verdict, Why};

    #[test]
    fn an_attempt_is_told_with_the_rule_as_it_may_be_typed() {
        let rules = ["allow:*.Example.com:443/tcp".to_owned()];
        let egress = EgressPolicy::parse(&rules).unwrap();
        let attempt = Attempt {
            carrier: Some(Carrier::Tcp),
            peer: Some("[2001:db8::1]:443".parse().unwrap()),
            name: Some("a.example.com".to_owned()),
            verdict: Verdict {
                allows: true,
                why: Why::Rule(0),
            },
            count: 2,
            first: 0,
            last: 1,
            sent: 3,
            received: 4,
        };
        let shown = &to_json(&[attempt], &egress)[0];
        assert_eq!(shown["Address"], "2001:db8::1");
        assert_eq!(shown["Rule"], "allow:*.example.com:443/tcp");
        assert_eq!(
            (&shown["Verdict"], &shown["Transport"]),
            (&json!("allowed"), &json!("tcp"))
        );
        assert_eq!(
            (&shown["Port"], &shown["Received"]),
            (&json!(443), &json!(4))
        );
    }
}
