//! The words of the command line: completed by a real shell, explained, and set in a file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::husk::{Husk, Said, said};

const HUSK: &str = env!("CARGO_BIN_EXE_husk");

/// What bash offers behind `line`, having read what husk says it should.
fn complete(husk: &Husk, line: &str) -> Vec<String> {
    let script = r#"
        PATH=${HUSK%/*}:$PATH
        source <(husk completion bash)
        read -ra COMP_WORDS <<<"$LINE"
        [[ $LINE != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_TYPE=9 COMP_LINE=$LINE COMP_POINT=${#LINE}
        function=$(complete -p husk | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" husk "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = Command::new("bash")
        .args(["-c", script])
        .env("HUSK", HUSK)
        .env("LINE", line)
        .env("HUSK_HOME", husk.home())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = said(output);
    assert_eq!(said.stderr, "");
    said.out()
        .lines()
        .map(|word| word.trim().to_owned())
        .collect()
}

#[test]
fn a_shell_completes_verbs_flags_and_names() {
    let husk = Husk::fresh();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/busybox/busybox.tar");
    assert_eq!(husk.say(&["load", "-i", archive]).status, 0);
    assert_eq!(complete(&husk, "husk comple"), ["completion"]);
    assert_eq!(complete(&husk, "husk run --read-o"), ["--read-only"]);
    let images = complete(&husk, "husk run bus");
    assert!(
        images.iter().any(|name| name.starts_with("busybox")),
        "{images:?}"
    );
    assert_eq!(complete(&husk, "husk rmi nothing-like-it"), [""]);
    assert_eq!(husk.say(&["create", "--name", "bus", "busybox"]).status, 0);
    assert_eq!(husk.say(&["volume", "create", "bulk"]).status, 0);
    assert_eq!(complete(&husk, "husk start bu"), ["bus"]);
    // It does not run.
    assert_eq!(complete(&husk, "husk stop bu"), [""]);
    let both = complete(&husk, "husk inspect bu");
    assert!(both.len() > 1 && both[0] == "bus", "{both:?}");
    assert_eq!(complete(&husk, "husk volume rm bu"), ["bulk"]);
    assert_eq!(husk.say(&["network", "create", "bunch"]).status, 0);
    assert_eq!(complete(&husk, "husk network rm bu"), ["bunch"]);
    assert_eq!(complete(&husk, "husk run --network bu"), ["bunch"]);
    for shell in ["zsh", "fish"] {
        let script = husk.say(&["completion", shell]);
        assert!(script.out().contains("HUSK_COMPLETE"), "{}", script.out());
    }
}

#[test]
fn who_mistypes_a_name_is_told_the_one_that_is_there() {
    let husk = Husk::fresh();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/busybox/busybox.tar");
    assert_eq!(husk.say(&["load", "-i", archive]).status, 0);
    assert_eq!(
        husk.say(&["create", "--name", "database", "busybox"])
            .status,
        0
    );
    assert_eq!(husk.say(&["volume", "create", "pictures"]).status, 0);
    assert_eq!(husk.say(&["network", "create", "back"]).status, 0);
    for (words, meant) in [
        (&["run", "busybix"][..], "`busybox`"),
        (&["run", "busybox:lates"], "`busybox:latest`"),
        (&["start", "databse"], "`database`"),
        (&["volume", "inspect", "picture"], "`pictures`"),
        (&["network", "inspect", "bakc"], "`back`"),
        (&["run", "--network", "bak", "busybox"], "`back`"),
    ] {
        // The status is that of each verb.
        let said = husk.say(words).stderr;
        let hint = format!("did you mean {meant}?\n");
        assert!(said.lines().count() == 1 && said.ends_with(&hint), "{said}");
    }
    husk.say(&["run", "postgres"])
        .is_one_clear_line(&["husk load"]);
}

#[test]
fn every_verb_has_a_page_and_an_explanation() {
    let husk = Husk::shared();
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert_eq!(
        husk.say(&["man", "--dir", pages.to_str().unwrap()]).status,
        0
    );
    let help = husk.say(&["--help"]).out();
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs: Vec<_> = verbs
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty())
        .collect();
    assert!(
        verbs.contains(&"run") && verbs.contains(&"compare"),
        "{verbs:?}"
    );
    for verb in verbs {
        let page = fs::read_to_string(pages.join(format!("husk-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{verb}: {page}");
        let explained = husk.say(&["help", verb]);
        assert_eq!(explained.status, 0);
        assert!(
            explained.out().contains(&format!("Usage: husk {verb}")),
            "{}",
            explained.out()
        );
    }
    assert!(husk.say(&["help"]).out().contains("husk run"));
    husk.say(&["help", "walk"])
        .is_one_clear_line(&["walk", "husk --help"]);
}

/// `husk` with this configuration file.
fn configured(husk: &Husk, file: &Path, args: &[&str]) -> Said {
    said(
        husk.command(args)
            .env("HUSK_CONFIG", file)
            .output()
            .unwrap(),
    )
}

#[test]
fn the_configuration_file_sets_defaults_and_its_mistakes_have_a_place() {
    let husk = Husk::shared().behind(crate::husk::Wall::Container);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(
        &file,
        "[run]\nenv = [\"COLOUR=grey\"]\nhostname = \"set\"\n",
    )
    .unwrap();
    let show = ["busybox", "sh", "-c", "echo $COLOUR; hostname"];
    let run = |flags: &[&str]| configured(&husk, &file, &[&["run"], flags, &show[..]].concat());
    assert_eq!(run(&[]).out(), "grey\nset\n");
    assert_eq!(run(&["--hostname", "typed"]).out(), "grey\ntyped\n");
    fs::write(&file, "[run]\nmemroy = \"1g\"\n").unwrap();
    run(&[]).is_one_clear_line(&["config.toml", "[run] memroy", "husk run --help"]);
    let gone = configured(&husk, &folder.path().join("gone"), &["images"]);
    gone.is_one_clear_line(&["gone", "configuration"]);
}

#[test]
fn a_near_miss_is_named() {
    let husk = Husk::shared();
    for (typed, meant) in [
        (&["imagse"][..], "images"),
        (&["run", "--memroy", "1g", "busybox"], "--memory"),
    ] {
        let said = husk.say(typed);
        assert_eq!(said.status, 125);
        assert!(said.stderr.contains(meant), "{}", said.stderr);
    }
}
