//! placeholder
use crate::compare::report::Report;
/// placeholder
pub fn html(_report: &Report) -> String {
    String::new()
}
