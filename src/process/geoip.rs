//! `geoip`: where an address is, and whose, from a database in MaxMind's format, with the field names of Logstash's filter of that
//! name: the old ones or ECS's.
//!
//! The database comes with the options and can be replaced while events are looked up ([`Database`]). An address that it does not
//! know, or that is none, is a failure and adds nothing. Not here: reading files, and knowing when (config, pipeline).

use core::net::IpAddr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use maxminddb::{MaxMindDbError, Reader};
use schemars::JsonSchema;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Object, Value, ValueRef};

/// `geoip: {field, target, database, ecs_compatibility, fields}`.
#[derive(Clone, Debug)]
pub struct GeoIp {
    field: FieldPath,
    database: Arc<Database>,
    /// What to set, where; without those that ECS has no place for.
    places: Vec<(GeoField, FieldPath)>,
    /// Only what Logstash sets for a database of this type.
    is_default: bool,
    is_ecs: bool,
}

/// A database that may be replaced.
pub struct Database {
    path: PathBuf,
    current: RwLock<Loaded>,
}

struct Loaded {
    reader: Reader<Vec<u8>>,
    stamp: Stamp,
}

/// Which content of a file this is: device, inode, length, and the time of the last change. All 0: there is no file.
pub type Stamp = [u64; 5];

/// What can be known of an address, by its old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeoField {
    Ip,
    CityName,
    ContinentCode,
    ContinentName,
    CountryName,
    CountryCode2,
    CountryCode3,
    Latitude,
    Longitude,
    Location,
    PostalCode,
    RegionName,
    RegionCode,
    RegionIsoCode,
    Timezone,
    Asn,
    AsOrg,
    Isp,
    Organization,
}

use GeoField::{
    AsOrg, Asn, CityName, ContinentCode, ContinentName, CountryCode2, CountryCode3, CountryName, Ip, Isp, Latitude,
    Location, Longitude, Organization, PostalCode, RegionCode, RegionIsoCode, RegionName, Timezone,
};

/// Each field with its old name and that of ECS.
const FIELDS: [(GeoField, &str, &str); 19] = [
    (Ip, "ip", "ip"),
    (CityName, "city_name", "geo.city_name"),
    (ContinentCode, "continent_code", "geo.continent_code"),
    (ContinentName, "continent_name", "geo.continent_name"),
    (CountryName, "country_name", "geo.country_name"),
    (CountryCode2, "country_code2", "geo.country_iso_code"),
    (CountryCode3, "country_code3", ""),
    (Latitude, "latitude", "geo.location.lat"),
    (Longitude, "longitude", "geo.location.lon"),
    (Location, "location", "geo.location"),
    (PostalCode, "postal_code", "geo.postal_code"),
    (RegionName, "region_name", "geo.region_name"),
    (RegionCode, "region_code", "geo.region_code"),
    (RegionIsoCode, "region_iso_code", "geo.region_iso_code"),
    (Timezone, "timezone", "geo.timezone"),
    (Asn, "asn", "as.number"),
    (AsOrg, "as_org", "as.organization.name"),
    (Isp, "isp", "mmdb.isp"),
    (Organization, "organization", "mmdb.organization"),
];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    city: Named<'a>,
    #[serde(borrow)]
    continent: Named<'a>,
    #[serde(borrow)]
    country: Named<'a>,
    #[serde(borrow)]
    location: Coordinates<'a>,
    #[serde(borrow)]
    postal: Named<'a>,
    #[serde(borrow)]
    subdivisions: Vec<Named<'a>>,
    #[serde(deserialize_with = "integer")]
    autonomous_system_number: Option<i64>,
    autonomous_system_organization: Option<&'a str>,
    isp: Option<&'a str>,
    organization: Option<&'a str>,
    /// Where an Enterprise database has the four above.
    #[serde(borrow)]
    traits: Network<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Network<'a> {
    #[serde(deserialize_with = "integer")]
    autonomous_system_number: Option<i64>,
    autonomous_system_organization: Option<&'a str>,
    isp: Option<&'a str>,
    organization: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    code: Option<&'a str>,
    iso_code: Option<&'a str>,
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Coordinates<'a> {
    #[serde(deserialize_with = "float")]
    latitude: Option<f64>,
    #[serde(deserialize_with = "float")]
    longitude: Option<f64>,
    time_zone: Option<&'a str>,
}

/// A number, in whichever of the format's types: who writes a database chooses the smallest.
#[derive(Clone, Copy)]
enum Number {
    Integer(i64),
    Float(f64),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(record: D) -> Result<Self, D::Error> {
        record.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
        Ok(Number::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        i64::try_from(value).map(Number::Integer).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
        Ok(Number::Float(value))
    }
}

fn integer<'de, D: Deserializer<'de>>(record: D) -> Result<Option<i64>, D::Error> {
    match Number::deserialize(record)? {
        Number::Integer(number) => Ok(Some(number)),
        Number::Float(_) => Err(D::Error::custom("expected a whole number")),
    }
}

fn float<'de, D: Deserializer<'de>>(record: D) -> Result<Option<f64>, D::Error> {
    Ok(Some(match Number::deserialize(record)? {
        Number::Integer(number) => number as f64,
        Number::Float(number) => number,
    }))
}

impl Database {
    /// The database whose file, at `path`, has these bytes.
    ///
    /// # Errors
    /// What is damaged.
    pub fn new(path: &Path, bytes: Vec<u8>, stamp: Stamp) -> Result<Self, MaxMindDbError> {
        let reader = Reader::from_source(bytes)?;
        Ok(Self { path: path.to_owned(), current: RwLock::new(Loaded { reader, stamp }) })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its type as its makers call it, if that is none of those that have what is looked up here.
    pub fn foreign_type(&self) -> Option<String> {
        let loaded = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let name = &loaded.reader.metadata().database_type;
        let is_known = ["City", "Country", "ASN", "ISP", "Enterprise"].iter().any(|word| name.contains(word));
        (!is_known).then(|| name.clone())
    }

    /// Which content of the file it has.
    pub fn stamp(&self) -> Stamp {
        self.current.read().unwrap_or_else(PoisonError::into_inner).stamp
    }

    /// Takes other content of the file. Lookups do not wait for more than the exchange.
    ///
    /// # Errors
    /// What is damaged: then what it had stays.
    pub fn replace(&self, bytes: Vec<u8>, stamp: Stamp) -> Result<(), MaxMindDbError> {
        let reader = Reader::from_source(bytes)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Loaded { reader, stamp };
        Ok(())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl GeoIp {
    /// Looks up the address in `field`, and sets `fields` below `target`; none: those that Logstash sets.
    pub fn new(
        field: FieldPath,
        target: &FieldPath,
        database: Arc<Database>,
        is_ecs: bool,
        fields: Option<&[GeoField]>,
    ) -> Self {
        let chosen = FIELDS.iter().filter(|(field, ..)| fields.is_none_or(|fields| fields.contains(field)));
        let named = chosen.map(|(field, old, ecs)| (*field, if is_ecs { *ecs } else { *old }));
        let placed = named
            .filter(|(_, name)| !name.is_empty())
            .map(|(field, name)| (field, FieldPath::parse(name).expect("the names are constants").below(target)));
        Self { field, database, places: placed.collect(), is_default: fields.is_none(), is_ecs }
    }

    /// The address; one of IPv4 within IPv6 (`::ffff:192.0.2.1`) is that of IPv4, as in Java.
    fn address(&self, work: &Work<'_>) -> Option<IpAddr> {
        let address: IpAddr = match work.get(&self.field)? {
            ValueRef::Str(text) => text.trim().parse().ok(),
            ValueRef::Array(values) => values.first()?.as_str()?.trim().parse().ok(),
            _ => None,
        }?;
        Some(address.to_canonical())
    }

    /// Whether Logstash sets the field if the config does not say which, with a database of this type.
    fn is_usual(&self, field: GeoField, database_type: &str) -> bool {
        let has = |word| database_type.contains(word);
        match field {
            Ip | CountryName | CountryCode2 | Asn | AsOrg | Isp | Organization => true,
            ContinentName => has("Country") || has("Enterprise"),
            RegionCode => !self.is_ecs,
            RegionIsoCode => self.is_ecs,
            _ => !has("Country"),
        }
    }

    /// The values of an address. Of a city without a place nothing is known, as in Logstash.
    fn look_up(&self, address: IpAddr) -> Result<Vec<(FieldPath, Value)>, Failed> {
        let loaded = self.database.current.read().unwrap_or_else(PoisonError::into_inner);
        let found = loaded.reader.lookup(address).map_err(|_| Failed)?;
        let record: Record<'_> = found.decode().map_err(|_| Failed)?.ok_or(Failed)?;
        let database_type = loaded.reader.metadata().database_type.as_str();
        let is_nowhere = record.location.latitude.is_none() && record.location.longitude.is_none();
        if database_type.contains("City") && is_nowhere {
            return Err(Failed);
        }
        let mut values = Vec::with_capacity(self.places.len());
        let mut knows_something = false;
        for (field, path) in &self.places {
            if self.is_default && !self.is_usual(*field, database_type) {
                continue;
            }
            let value = if *field == Ip { Some(address.to_string().into()) } else { record.value(*field) };
            let Some(value) = value else { continue };
            knows_something |= *field != Ip;
            values.push((path.clone(), value));
        }
        let wants_ip_only = matches!(self.places[..], [(Ip, _)]);
        if knows_something || wants_ip_only { Ok(values) } else { Err(Failed) }
    }
}

impl Record<'_> {
    fn value(&self, field: GeoField) -> Option<Value> {
        let region = self.subdivisions.last();
        let text = match field {
            Ip => None,
            CityName => self.city.names.en,
            ContinentCode => self.continent.code,
            ContinentName => self.continent.names.en,
            CountryName => self.country.names.en,
            // The databases have no code of three letters; Logstash sets both to this one.
            CountryCode2 | CountryCode3 => self.country.iso_code,
            Latitude => return self.location.latitude.map(Value::Float),
            Longitude => return self.location.longitude.map(Value::Float),
            Location => {
                let (lat, lon) = self.location.latitude.zip(self.location.longitude)?;
                let both = [("lat", Value::Float(lat)), ("lon", Value::Float(lon))];
                return Some(Value::Object(Object::from_iter(both)));
            }
            PostalCode => self.postal.code,
            RegionName => region?.names.en,
            RegionCode => region?.iso_code,
            RegionIsoCode => {
                let (country, region) = self.country.iso_code.zip(region?.iso_code)?;
                return Some([country, "-", region].concat().into());
            }
            Timezone => self.location.time_zone,
            Asn => return self.autonomous_system_number.or(self.traits.autonomous_system_number).map(Value::Int),
            AsOrg => self.autonomous_system_organization.or(self.traits.autonomous_system_organization),
            Isp => self.isp.or(self.traits.isp),
            Organization => self.organization.or(self.traits.organization),
        };
        text.map(Value::from)
    }
}

impl Process for GeoIp {
    fn name(&self) -> &'static str {
        "geoip"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let address = self.address(work).ok_or(Failed)?;
        let mut all = Ok(Outcome::Keep);
        for (path, value) in self.look_up(address)? {
            if work.set(&path, value).is_err() {
                all = Err(Failed);
            }
        }
        all
    }

    fn databases(&self) -> Vec<Arc<Database>> {
        vec![Arc::clone(&self.database)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::mmdb;
    use super::super::tests::{check_fields, path};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    fn city() -> Vec<u8> {
        let london = json!({
            "city": {"names": {"de": "London", "en": "London"}}, "continent": {"code": "EU", "names": {"en": "Europe"}},
            "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}}, "postal": {"code": "OX1"},
            "location": {"latitude": 51.5142, "longitude": -0.0931, "time_zone": "Europe/London", "accuracy_radius": 10},
            "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}],
        });
        let nowhere = json!({"country": {"iso_code": "GB", "names": {"en": "United Kingdom"}}});
        mmdb::write(
            "GeoLite2-City",
            &[("81.2.69.160", 27, london.clone()), ("2001:db8:1::", 48, london), ("10.0.0.0", 8, nowhere)],
        )
    }

    fn database(bytes: Vec<u8>) -> Arc<Database> {
        Arc::new(Database::new(Path::new("/db.mmdb"), bytes, [1; 5]).expect("a good database"))
    }

    fn legacy(bytes: Vec<u8>) -> GeoIp {
        GeoIp::new(path("clientip"), &path("geoip"), database(bytes), false, None)
    }

    fn check(processor: GeoIp, input: Json, expect: Json) {
        let mut all = input.clone();
        let Json::Object(expect) = expect else { panic!("{expect}") };
        expect.into_iter().for_each(|(key, value)| all[key] = value);
        check_fields(processor, input, all);
    }

    #[test]
    fn the_old_names() {
        let geoip = json!({
            "ip": "81.2.69.161", "city_name": "London", "continent_code": "EU", "country_name": "United Kingdom",
            "country_code2": "GB", "country_code3": "GB", "latitude": 51.5142, "longitude": -0.0931,
            "location": {"lat": 51.5142, "lon": -0.0931}, "postal_code": "OX1", "region_name": "England",
            "region_code": "ENG", "timezone": "Europe/London",
        });
        check(legacy(city()), json!({"clientip": "81.2.69.161"}), json!({ "geoip": geoip }));
        check(legacy(city()), json!({"clientip": ["81.2.69.161", "x"]}), json!({ "geoip": geoip }));
    }

    #[test]
    fn the_names_of_ecs() {
        let ecs = GeoIp::new(path("source.ip"), &path("source"), database(city()), true, None);
        let fields = json!({"source.ip": "2001:db8:1::9"});
        check_fields(
            ecs,
            fields,
            json!({"source": {
                "ip": "2001:db8:1::9",
                "geo": {
                    "city_name": "London", "continent_code": "EU", "country_name": "United Kingdom", "country_iso_code": "GB",
                    "location": {"lat": 51.5142, "lon": -0.0931}, "postal_code": "OX1", "region_name": "England",
                    "region_iso_code": "GB-ENG", "timezone": "Europe/London",
                },
            }}),
        );
        let record = json!({"autonomous_system_number": 64500, "autonomous_system_organization": "Example"});
        let asn = database(mmdb::write("GeoLite2-ASN", &[("192.0.2.0", 24, record)]));
        let ecs = GeoIp::new(path("ip"), &path("client"), Arc::clone(&asn), true, None);
        let fields = json!({"ip": "192.0.2.2", "as": {"number": 64500, "organization": {"name": "Example"}}});
        check(ecs, json!({"ip": "192.0.2.2"}), json!({ "client": fields }));
        let old = GeoIp::new(path("ip"), &path("geoip"), asn, false, Some(&[Asn, AsOrg]));
        check(old, json!({"ip": "192.0.2.2"}), json!({"geoip": {"asn": 64500, "as_org": "Example"}}));
    }

    #[test]
    fn the_fields_that_are_chosen() {
        let chosen = GeoIp::new(path("a"), &path("g"), database(city()), false, Some(&[ContinentName, RegionIsoCode]));
        let expect = json!({"continent_name": "Europe", "region_iso_code": "GB-ENG"});
        check(chosen, json!({"a": "81.2.69.161"}), json!({ "g": expect }));
    }

    /// Guarantee: no answer, no address, or a target that is a text: the event stays and is tagged.
    #[test]
    fn what_has_no_answer_is_tagged() {
        for clientip in [json!("192.168.0.1"), json!("10.1.1.1"), json!("localhost"), json!(""), json!(7), json!([])] {
            check(legacy(city()), json!({ "clientip": clientip }), json!({"tags": ["a", "_geoip_failed"]}));
        }
        check(legacy(city()), json!({}), json!({"tags": ["a", "_geoip_failed"]}));
        let taken = json!({"clientip": "81.2.69.161", "geoip": "taken"});
        check(legacy(city()), taken, json!({"tags": ["a", "_geoip_failed"]}));
    }

    #[test]
    fn types_that_have_nothing_for_it_are_told() {
        let foreign = |name: &str| database(mmdb::write(name, &[])).foreign_type();
        assert_eq!(foreign("DBIP-City-Lite"), None);
        assert_eq!(foreign("GeoLite2-ASN"), None);
        assert_eq!(foreign("GeoIP2-Anonymous-IP"), Some("GeoIP2-Anonymous-IP".to_owned()));
    }

    #[test]
    fn ipv4_within_ipv6_is_ipv4() {
        let chosen = |address: &str| {
            let geoip = GeoIp::new(path("a"), &path("g"), database(city()), false, Some(&[Ip, CityName]));
            check(geoip, json!({"a": address}), json!({"g": {"ip": "81.2.69.161", "city_name": "London"}}));
        };
        chosen("81.2.69.161");
        chosen("::ffff:81.2.69.161");
        chosen("::ffff:5102:45a1");
    }

    /// Scenario: numbers in other types of the format than MaxMind's own databases have them, an Enterprise database.
    /// Guarantee: they are numbers, and the network is found where it is.
    #[test]
    fn records_of_other_writers() {
        let whole = mmdb::write("x-City", &[("192.0.2.0", 24, json!({"location": {"latitude": 52, "longitude": 13}}))]);
        let geoip = GeoIp::new(path("a"), &path("g"), database(whole), false, Some(&[Location]));
        check(geoip, json!({"a": "192.0.2.1"}), json!({"g": {"location": {"lat": 52.0, "lon": 13.0}}}));
        // Of 16 bits, as the writer for tests has it for names of this ending.
        let network = json!({"autonomous_system_number": 64500, "isp": "I", "organization": "O", "autonomous_system_organization": "A"});
        let record = json!({"country": {"names": {"en": "Germany"}}, "traits": network});
        let enterprise = database(mmdb::write("GeoIP2-Enterprise", &[("192.0.2.0", 24, record)]));
        let geoip = GeoIp::new(path("a"), &path("g"), enterprise, false, Some(&[Asn, AsOrg, Isp, Organization]));
        check(
            geoip,
            json!({"a": "192.0.2.1"}),
            json!({"g": {"asn": 64500, "as_org": "A", "isp": "I", "organization": "O"}}),
        );
    }

    /// Scenario: the database is replaced, then by one that is damaged.
    /// Guarantee: the new one answers from then on; the damaged one changes nothing.
    #[test]
    fn a_database_is_replaced_unless_it_is_damaged() {
        let processor = legacy(city());
        let record = json!({"country": {"iso_code": "SE", "names": {"en": "Sweden"}}});
        let other = mmdb::write("GeoLite2-Country", &[("81.2.69.160", 27, record)]);
        processor.database.replace(other.clone(), [2; 5]).expect("a good one");
        assert!(processor.database.replace(other[..other.len() / 2].to_vec(), [3; 5]).is_err());
        assert_eq!(processor.database.stamp(), [2; 5]);
        let geoip = json!({"ip": "81.2.69.161", "country_name": "Sweden", "country_code2": "SE"});
        check(processor, json!({"clientip": "81.2.69.161"}), json!({ "geoip": geoip }));
    }

    proptest! {
        /// Guarantee: a database with any odd bytes is refused or answers; it never panics.
        #[test]
        fn any_database(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
            let mut bytes = city();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            for bytes in [bytes.clone(), bytes[..cut.index(bytes.len())].to_vec()] {
                if let Ok(database) = Database::new(Path::new("/db"), bytes, [0; 5]) {
                    let processor = GeoIp::new(path("a"), &path("g"), Arc::new(database), false, None);
                    for address in ["81.2.69.161", "2001:db8:1::9", "10.0.0.1", "::"] {
                        processor.look_up(address.parse().expect("an address")).ok();
                    }
                }
            }
        }
    }
}
