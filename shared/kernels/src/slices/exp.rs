//! The exponential, without branches so that it vectorises.

/// `e^x` within 2 units in the last place; 0 below -87.3 (where f32 turns subnormal),
/// infinite above 88.37 (a little before f32 ends), NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0;
    // A comparison, not `clamp`: NaN has to pass through every line below.
    let bounded = if x > 88.37 { 88.37 } else { x };
    let bounded = if bounded < -87.3 { -87.3 } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let r = (bounded - power * LN2_HIGH) - power * LN2_LOW;
    // Cephes' polynomial for |r| <= ln(2) / 2.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let mantissa = p * (r * r) + r + 1.0;
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23;
    let value = mantissa * f32::from_bits(exponent);
    let value = if x > 88.37 { f32::INFINITY } else { value };
    let value = if x < -87.3 { 0.0 } else { value };
    if x.is_nan() { x } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_real_one() {
        for i in -873_000..=883_700 {
            let x = i as f32 / 1e4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error:e}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
