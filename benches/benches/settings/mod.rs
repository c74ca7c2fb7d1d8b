//! How long every figure is measured; the command line may say otherwise.

use criterion::Criterion;
use std::time::Duration;

/// Medians of 20 samples within some seconds a figure, so that a category takes a minute or two.
pub fn criterion() -> Criterion {
    let criterion = Criterion::default().without_plots().sample_size(20);
    let criterion = criterion.warm_up_time(Duration::from_millis(300));
    criterion.measurement_time(Duration::from_secs(1)).configure_from_args()
}
