//! Policies, as they are typed.

use std::time::Duration;

use super::*;

fn policy(text: &str) -> Policy {
    Policy::new(EgressPolicy::parse(&[text.to_owned()]).unwrap())
}

fn at(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| SocketAddr::new(text.parse().unwrap(), 443))
}

fn allows(policy: &Policy, text: &str) -> bool {
    policy.judge(Carrier::Tcp, at(text), Instant::now()).allows
}

const NEVER: [&str; 21] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "224.0.0.251",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "fe80::1",
    "febf::1",
    "ff02::1",
    "fd00:ec2::254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
];

#[test]
fn the_host_and_its_cloud_are_never_reached_whatever_the_rules_say() {
    for words in [
        "none",
        "public",
        "any",
        "allow:*",
        "allow:0.0.0.0/0,allow:[::/0],any",
        "allow:here.example,any",
    ] {
        let mut policy = policy(words);
        for text in NEVER {
            let peer = at(text);
            policy.learn("here.example", peer.ip(), 60, true, Instant::now());
            for carrier in [Carrier::Tcp, Carrier::Udp, Carrier::Icmp] {
                assert!(
                    !policy.judge(carrier, peer, Instant::now()).allows,
                    "{text} {words}"
                );
            }
        }
    }
}

#[test]
fn public_is_what_everybody_reaches() {
    let [none, public, any] = ["none", "public", "any"].map(policy);
    for text in ["1.1.1.1", "128.0.0.1", "168.63.129.17", "2606:4700::1111"] {
        assert!(allows(&public, text) && allows(&any, text), "{text}");
        assert!(!allows(&none, text), "{text}");
    }
    for text in [
        "10.1.2.3",
        "172.31.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "fd68::1",
        "2002:a00:1::1",
    ] {
        assert!(!allows(&public, text), "{text}");
        assert!(allows(&any, text), "{text}");
    }
}

#[test]
fn the_first_rule_that_speaks_of_it_holds() {
    let policy = policy("deny:10.9.0.0/16,allow:10.0.0.0/8:443,deny:10.0.0.0/8,public");
    assert!(allows(&policy, "10.1.2.3:443"));
    assert!(!allows(&policy, "10.1.2.3:80"));
    assert!(!allows(&policy, "10.9.2.3:443"));
    assert!(!allows(&policy, "192.168.0.1:443"));
    assert!(allows(&policy, "1.1.1.1:80"));
}

#[test]
fn rules_are_of_both_versions_and_of_all_carriers() {
    let policy = policy("allow:[fd00:1::/32]:53/udp,allow:[2001:db8::1]/icmp,allow:*:7");
    let allows = |carrier, text| policy.judge(carrier, at(text), Instant::now()).allows;
    assert!(allows(Carrier::Udp, "[fd00:1::9]:53"));
    assert!(!allows(Carrier::Tcp, "[fd00:1::9]:53"));
    assert!(!allows(Carrier::Udp, "[fd00:2::9]:53"));
    assert!(allows(Carrier::Icmp, "2001:db8::1"));
    assert!(!allows(Carrier::Icmp, "2001:db8::2"));
    assert!(allows(Carrier::Udp, "[2001:db8::2]:7") && allows(Carrier::Tcp, "192.0.2.1:7"));
    // Whatever stands where its port would be.
    assert!(!allows(Carrier::Icmp, "192.0.2.1:7"));
}

#[test]
fn what_is_denied_is_denied_behind_a_translator_too() {
    let policy = policy("deny:1.1.1.0/24,deny:[2606:4700::/32],any");
    for text in [
        "1.1.1.1",
        "64:ff9b::101:101",
        "2002:101:101::1",
        "2606:4700::1",
    ] {
        assert!(!allows(&policy, text), "{text}");
    }
    assert!(allows(&policy, "1.1.2.1") && allows(&policy, "64:ff9b::101:201"));
}

#[test]
fn a_name_opens_the_addresses_that_were_told_for_it_while_they_hold() {
    let mut policy = policy("deny:b.example.com,allow:*.example.com:443/tcp");
    let (peer, now) = (at("192.0.2.1:443"), Instant::now());
    assert!(
        !policy.judge(Carrier::Tcp, peer, now).allows,
        "nobody was told"
    );
    policy.learn("a.example.com", peer.ip(), 300, false, now);
    assert!(policy.judge(Carrier::Tcp, peer, now).allows);
    assert!(!policy.judge(Carrier::Udp, peer, now).allows);
    assert!(!policy.judge(Carrier::Tcp, at("192.0.2.1:80"), now).allows);
    assert!(!policy.judge(Carrier::Tcp, at("192.0.2.2:443"), now).allows);
    let later = now + Duration::from_secs(301);
    assert!(!policy.judge(Carrier::Tcp, peer, later).allows);
    // The address of another name that is denied before.
    policy.learn("b.example.com", peer.ip(), 300, false, now);
    assert!(!policy.judge(Carrier::Tcp, peer, now).allows);
}

#[test]
fn a_name_leads_into_private_networks_only_by_somebodys_word_here() {
    let (inside, now) = (at("10.1.2.3:443"), Instant::now());
    for (words, is_ours, expected) in [
        ("allow:a.example", false, false),
        ("allow:a.example", true, true),
        ("allow:a.example,public", false, false),
        ("allow:a.example,allow:10.0.0.0/8", false, true),
        ("allow:a.example,any", false, true),
    ] {
        let mut policy = policy(words);
        policy.learn("a.example", inside.ip(), 60, is_ours, now);
        let allowed = policy.judge(Carrier::Tcp, inside, now).allows;
        assert_eq!(allowed, expected, "{words} {is_ours}");
    }
}

#[test]
fn answers_that_lead_inside_are_not_believed() {
    for (words, inside, host) in [
        ("any", true, true),
        ("deny:10.0.0.0/8,any", true, true),
        ("deny:a.example,any", true, false),
        ("public", false, false),
        ("none", false, false),
        ("allow:a.example", false, false),
        ("allow:a.example,allow:10.0.0.0/8", true, false),
        ("allow:*", true, false),
    ] {
        let policy = policy(words);
        assert!(policy.admits([1, 1, 1, 1].into()), "{words}");
        assert_eq!(policy.admits([10, 1, 2, 3].into()), inside, "{words}");
        assert_eq!(policy.admits([127, 0, 0, 1].into()), host, "{words}");
    }
}

#[test]
fn names_are_told_where_they_are_of_use() {
    let table = [
        ("any", "a.example", true),
        ("public", "a.example", true),
        ("none", "a.example", false),
        ("allow:10.0.0.0/8", "a.example", false),
        ("allow:a.example:443", "a.example", true),
        ("allow:a.example", "b.example", false),
        ("allow:*.example", "a.example", true),
        ("allow:*:443", "a.example", true),
        ("allow:public", "a.example", true),
        ("deny:public,any", "a.example", true),
        ("deny:a.example,any", "a.example", false),
        ("deny:a.example:25,any", "a.example", true),
        ("deny:a.example,allow:*.example", "a.example", false),
        ("allow:a.example,deny:*.example", "a.example", true),
    ];
    for (words, name, expected) in table {
        assert_eq!(policy(words).judge_name(name).allows, expected, "{words}");
    }
    let guards = |words| policy(words).guards_names();
    assert!(!guards("any") && !guards("public") && !guards("deny:10.0.0.0/8,any"));
    assert!(guards("none") && guards("deny:a.example,any"));
}

#[test]
fn a_name_that_is_denied_is_told_from_one_of_which_nobody_speaks() {
    let policy = policy("allow:a.evil.example,deny:*.evil.example,deny:b.example:25");
    let denied = ["b.evil.example", "c.d.evil.example"];
    assert!(denied.iter().all(|name| policy.denial_of(name).is_some()));
    let others = ["a.evil.example", "b.example", "c.example"];
    assert!(!others.iter().any(|name| policy.denial_of(name).is_some()));
}

#[test]
fn verdicts_say_why() {
    let mut policy = policy("deny:10.0.0.0/8,allow:a.example,public");
    let now = Instant::now();
    policy.learn("a.example", [192, 0, 2, 1].into(), 60, false, now);
    let why = |text| policy.judge(Carrier::Tcp, at(text), now).why;
    assert_eq!(why("10.1.2.3"), Why::Rule(0));
    assert_eq!(why("192.0.2.1"), Why::Rule(1));
    assert_eq!(why("192.0.2.2"), Why::Rest(Egress::Public));
    assert_eq!(why("127.0.0.1"), Why::Never);
    assert_eq!(policy.judge_name("a.example").why, Why::Rule(1));
    assert_eq!(
        policy.name_of([192, 0, 2, 1].into(), now),
        Some("a.example")
    );
    assert_eq!(policy.name_of([192, 0, 2, 2].into(), now), None);
}
