//! The signals that a user sends to `husk run`.

use std::io;
use std::thread;

use signal_hook::iterator::Signals;

/// From now on gives each of `numbers` to `deliver`, on a thread of its own, instead of letting it
/// end the process.
pub fn deliver(numbers: &[u8], deliver: impl Fn(u8) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new(numbers.iter().map(|number| i32::from(*number)))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for number in signals.forever() {
                if let Ok(number) = u8::try_from(number) {
                    deliver(number);
                }
            }
        })?;
    Ok(())
}
