//! Whether a workload is well: the image's HEALTHCHECK and the user's `--health-…`, made one as docker does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an image says (docker's extension of the OCI configuration, `config.Healthcheck`). Times are
/// nanoseconds, and 0 is docker's default, here as there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHealth {
    /// `[]`, `["NONE"]`, `["CMD", WORD…]` or `["CMD-SHELL", LINE]`.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: u64,
    /// How long one may take.
    pub timeout: u64,
    /// How long failures count for nothing at the beginning.
    pub start_period: u64,
    /// Between two checks meanwhile.
    pub start_interval: u64,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// What a user says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthRequest {
    /// Check nothing, whatever the image says.
    pub none: bool,
    /// A line for the shell.
    pub command: Option<String>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    /// How long failures count for nothing at the beginning.
    pub start_period: Option<Duration>,
    /// Between two checks meanwhile.
    pub start_interval: Option<Duration>,
    /// So many failures in a row make it unhealthy.
    pub retries: Option<u32>,
}

/// A check that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Between the end of a check and the next one.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How long failures count for nothing at the beginning.
    pub start_period: Duration,
    /// Between two checks meanwhile.
    pub start_interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// What runs a line.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

impl HealthCheck {
    /// What is to be checked, if anything.
    pub fn new(request: &HealthRequest, image: &ImageHealth) -> Result<Option<Self>, String> {
        if request.none {
            let more = HealthRequest {
                none: true,
                ..HealthRequest::default()
            };
            return match *request == more {
                true => Ok(None),
                false => Err(
                    "--no-healthcheck and --health-… exclude each other: leave one of them away"
                        .to_owned(),
                ),
            };
        }
        let command = match &request.command {
            Some(line) => shell(line),
            None => match &image.test[..] {
                [] => return Ok(None),
                [kind] if kind == "NONE" => return Ok(None),
                [kind, words @ ..] if kind == "CMD" && !words.is_empty() => words.to_vec(),
                [kind, line] if kind == "CMD-SHELL" => shell(line),
                _ => return Err("the image's HEALTHCHECK is none that docker knows: override it by --health-cmd, or --no-healthcheck".to_owned()),
            },
        };
        let pick = |typed: Option<Duration>, own: u64, default: Duration| {
            let own = Some(Duration::from_nanos(own));
            let mut said = [typed, own].into_iter().flatten();
            said.find(|length| !length.is_zero()).unwrap_or(default)
        };
        let retries = [request.retries.unwrap_or(0), image.retries];
        Ok(Some(Self {
            command,
            interval: pick(request.interval, image.interval, INTERVAL),
            timeout: pick(request.timeout, image.timeout, TIMEOUT),
            start_period: pick(request.start_period, image.start_period, Duration::ZERO),
            start_interval: pick(request.start_interval, image.start_interval, START_INTERVAL),
            retries: retries
                .into_iter()
                .find(|retries| *retries > 0)
                .unwrap_or(RETRIES),
        }))
    }
}

fn shell(line: &str) -> Vec<String> {
    let words = SHELL.into_iter().chain([line]);
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(test: &[&str]) -> ImageHealth {
        ImageHealth {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            interval: 2_000_000_000,
            ..ImageHealth::default()
        }
    }

    #[test]
    fn the_user_goes_before_the_image_and_docker_has_the_rest() {
        let request = HealthRequest {
            retries: Some(1),
            ..HealthRequest::default()
        };
        let check = HealthCheck::new(&request, &image(&["CMD", "true"]))
            .unwrap()
            .unwrap();
        assert_eq!(check.command, ["true"]);
        assert_eq!(
            (
                check.interval.as_secs(),
                check.timeout.as_secs(),
                check.retries
            ),
            (2, 30, 1)
        );
        let typed = HealthRequest {
            command: Some("test -e /ok".to_owned()),
            interval: Some(Duration::from_millis(10)),
            ..HealthRequest::default()
        };
        let check = HealthCheck::new(&typed, &image(&["NONE"]))
            .unwrap()
            .unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "test -e /ok"]);
        assert_eq!((check.interval.as_millis(), check.retries), (10, 3));
    }

    #[test]
    fn none_is_none_and_nonsense_is_said() {
        let nothing = HealthRequest::default();
        for test in [&[][..], &["NONE"]] {
            assert_eq!(HealthCheck::new(&nothing, &image(test)), Ok(None));
        }
        let none = HealthRequest {
            none: true,
            ..HealthRequest::default()
        };
        assert_eq!(HealthCheck::new(&none, &image(&["CMD", "true"])), Ok(None));
        let both = HealthRequest {
            retries: Some(1),
            ..none
        };
        assert!(HealthCheck::new(&both, &image(&[])).is_err());
        for test in [&["CMD"][..], &["CMD-SHELL"], &["true"]] {
            assert!(
                HealthCheck::new(&nothing, &image(test)).is_err(),
                "{test:?}"
            );
        }
    }
}
