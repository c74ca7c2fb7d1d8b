//! How fast something grows, from points that scatter.

/// A line through points: the median of the slopes between any two of them (Theil and Sen).
///
/// A file of many megabytes that is just being read lifts single points far above the others, at any time. Least squares
/// make a growth of that, or an interval too wide to tell; the median does not move.
#[derive(Default)]
pub struct Slope {
    points: Vec<(f64, f64)>,
}

/// Standard errors that hold 95% of a normal distribution on one side; there are always many points.
const ONE_SIDED: f64 = 1.645;
/// Points below which nothing is said.
const FEW: usize = 20;

impl Slope {
    /// Adds a point.
    pub fn add(&mut self, x: f64, y: f64) {
        self.points.push((x, y));
    }

    /// The slope; nothing from few points.
    pub fn slope(&self) -> Option<f64> {
        self.between().map(|slopes| slopes[slopes.len() / 2])
    }

    /// What the slope is below, with 95% confidence: by Kendall's variance of the order of the points.
    pub fn upper_bound(&self) -> Option<f64> {
        let slopes = self.between()?;
        let count = self.points.len() as f64;
        let deviation = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
        let rank = ((slopes.len() as f64 + ONE_SIDED * deviation) / 2.0).ceil() as usize;
        Some(slopes[rank.min(slopes.len() - 1)])
    }

    /// What the slope is between, each way with 95% confidence.
    pub fn interval(&self) -> Option<(f64, f64)> {
        // The order statistics lie around the median alike.
        let mirrored = Slope { points: self.points.iter().map(|(x, y)| (*x, -y)).collect() };
        Some((-mirrored.upper_bound()?, self.upper_bound()?))
    }

    /// The slopes between any two points, in order.
    fn between(&self) -> Option<Vec<f64>> {
        if self.points.len() < FEW {
            return None;
        }
        let pairs = self.points.iter().enumerate().flat_map(|(index, from)| {
            self.points[index + 1..].iter().map(move |to| (to.1 - from.1) / (to.0 - from.0))
        });
        let mut slopes: Vec<f64> = pairs.collect();
        slopes.sort_unstable_by(f64::total_cmp);
        Some(slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_shows_and_noise_does_not() {
        let line = |slope: f64| {
            let mut line = Slope::default();
            for x in 0..100 {
                let noise = f64::from(x * 37 % 61 - 30) * 1e3;
                // A file that is being read, more often towards the end.
                let spike = if x > 50 && x % 7 == 0 { 1e6 } else { 0.0 };
                line.add(f64::from(x) * 10.0, slope * f64::from(x) * 10.0 + noise + spike);
            }
            (line.slope().unwrap(), line.upper_bound().unwrap())
        };
        let (flat, bound) = line(0.0);
        assert!(flat.abs() < 20.0 && bound < 60.0, "{flat} {bound}");
        let (steep, bound) = line(2000.0);
        assert!((steep - 2000.0).abs() < 20.0 && bound > 2000.0, "{steep} {bound}");
        assert_eq!(Slope::default().slope(), None);
    }

    #[test]
    fn the_interval_is_around_the_slope_and_narrows() {
        let line = |count: i32| {
            let mut line = Slope::default();
            (0..count).for_each(|x| line.add(f64::from(x), f64::from(3 * x + x * 37 % 61)));
            let (low, high) = line.interval().unwrap();
            assert!(low < 3.0 && 3.0 < high && line.upper_bound() == Some(high), "{low} {high}");
            high - low
        };
        assert!(line(400) < line(40) / 4.0);
    }
}
