//! The stops of the context slider: eight to an octave, so that each step is some 10 %. They begin early enough that even
//! the smallest model has four octaves.

const FIRST: u64 = 128;
const PER_OCTAVE: u64 = 8;

/// Every stop up to and including `max`.
#[must_use]
pub fn stops(max: u64) -> Vec<u64> {
    let mut stops = Vec::new();
    let mut octave = FIRST.min((max / 16).max(1)).next_power_of_two();
    while octave < max {
        stops
            .extend((0..PER_OCTAVE).map(|i| octave + octave * i / PER_OCTAVE).take_while(|stop| *stop < max));
        octave *= 2;
    }
    stops.push(max.max(1));
    // Octaves of less than eight tokens.
    stops.dedup();
    stops
}

/// Index of the stop nearest to `context`.
#[must_use]
pub fn nearest(stops: &[u64], context: u64) -> usize {
    let distance = |i: &usize| stops[*i].abs_diff(context);
    (0..stops.len()).min_by_key(distance).unwrap_or(0)
}

/// Right end of a plot that shows `context` with room beyond it, within what the model can do.
#[must_use]
pub fn plot_end(context: u64, positions: u64) -> u64 {
    let room = context.saturating_mul(2).max(4096).next_power_of_two();
    room.min(positions).max(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn stops_rise_and_end_at_the_models_positions() {
        for max in [1, 2, 7, 16, 100, 128, 2048, 4096, 8192, 131_072, 100_000] {
            let stops = stops(max);
            assert!(stops.is_sorted_by(|a, b| a < b), "{max}");
            assert_eq!(stops.last(), Some(&max));
            // A stop that is in the list is found again.
            assert!(stops.iter().enumerate().all(|(i, stop)| nearest(&stops, *stop) == i), "{max}");
        }
        assert!(stops(131_072).contains(&4096));
        assert_eq!(stops(131_072).len(), 81);
        // The tiny model's whole context is no more than the first stop of the others.
        assert_eq!((stops(128).first(), stops(128).len()), (Some(&8), 33));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_plot_shows_what_is_chosen() {
        assert_eq!(plot_end(4096, 4096), 4096);
        assert_eq!(plot_end(4096, 131_072), 8192);
        assert_eq!(plot_end(200_000, 131_072), 200_000);
        assert_eq!(plot_end(1, 2048), 2048);
    }
}
