//! Times as the tables have them: `YYYY-MM-DD HH:MM:SS` in the local time of the site.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::units::Moment;

use super::StoreError;

/// Text has four digits for the year: a day less at both ends, for the zones.
const FIRST: i64 = -62_135_510_400_000;
const LAST: i64 = 253_402_214_400_000;

/// Knows the site's time zone.
#[derive(Clone, Debug)]
pub(super) struct LocalTime(TimeZone);

impl LocalTime {
    /// A zone by its IANA name, or the system's; UTC where the system has none.
    pub(super) fn new(zone: Option<&str>) -> Result<Self, StoreError> {
        let Some(name) = zone else {
            return Ok(Self(TimeZone::system()));
        };
        TimeZone::get(name).map(Self).map_err(|_| StoreError::TimeZone(name.to_owned()))
    }

    pub(super) fn text(&self, moment: Moment) -> String {
        // Lines can claim any time; what no calendar has becomes the nearest that it has.
        let moment =
            Timestamp::from_millisecond(moment.0.clamp(FIRST, LAST)).unwrap_or(Timestamp::UNIX_EPOCH);
        self.0.to_datetime(moment).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_follow_the_zone_and_its_summers() {
        let check = |zone: &str, moment: i64, expect: &str| {
            assert_eq!(LocalTime::new(Some(zone)).unwrap().text(Moment(moment)), expect, "{zone} {moment}");
        };
        check("UTC", 0, "1970-01-01 00:00:00");
        check("UTC", -1, "1969-12-31 23:59:59");
        check("Asia/Shanghai", 1_795_357_740_999, "2026-11-22 22:29:00");
        check("Europe/Berlin", 1_795_357_740_000, "2026-11-22 15:29:00");
        check("Europe/Berlin", 1_782_000_000_000, "2026-06-21 02:00:00");
        for far in [i64::MIN, i64::MAX] {
            assert_eq!(LocalTime::new(Some("Asia/Shanghai")).unwrap().text(Moment(far)).len(), 19);
        }
        assert!(matches!(LocalTime::new(Some("Nowhere/Else")), Err(StoreError::TimeZone(_))));
    }
}
