//! The names of months and days of the week in the languages that dates are read in (P).
//!
//! For reading only, so each name may have several forms: as in Joda, the long and the short one are taken wherever one may
//! stand, in upper, lower or mixed case. Not here: names of eras and calendars other than the Gregorian.

/// The language that a date's names are in.
#[derive(Clone, Copy, Debug)]
pub struct Locale {
    names: &'static Names,
    /// Of each month and day its short name of three letters of ASCII, as most dates have it (see [`three_letters`]).
    months: [u32; 12],
    weekdays: [u32; 7],
}

/// The names of one language; forms of one name are separated by blanks.
#[derive(Debug)]
struct Names {
    language: &'static str,
    months: [&'static str; 12],
    /// From Monday.
    weekdays: [&'static str; 7],
}

impl Locale {
    /// The locale of a language as `fr`, or a language and a country as `fr_FR` or `fr-FR`; the country does not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let language = match text.split(['_', '-', '.']).next().unwrap_or_default() {
            // Norwegian, as it is mostly written.
            "no" => "nb",
            language => language,
        };
        LANGUAGES.iter().find(|names| names.language.eq_ignore_ascii_case(language)).map(Self::of)
    }

    /// The languages that there are.
    pub fn languages() -> impl Iterator<Item = &'static str> {
        LANGUAGES.iter().map(|names| names.language)
    }

    fn of(names: &'static Names) -> Self {
        Self { names, months: names.months.map(three_letters), weekdays: names.weekdays.map(three_letters) }
    }

    /// The month that `text` begins with, 1 to 12, and the length of its name.
    pub(super) fn month(self, text: &str) -> Option<(i32, usize)> {
        longest(&self.names.months, &self.months, text)
    }

    /// The day of the week that `text` begins with, 1 = Monday, and the length of its name.
    pub(super) fn weekday(self, text: &str) -> Option<(i32, usize)> {
        longest(&self.names.weekdays, &self.weekdays, text)
    }
}

impl Default for Locale {
    fn default() -> Self {
        Self::of(&LANGUAGES[0])
    }
}

/// The form of three letters of ASCII, in lower case; 0 if there is none.
fn three_letters(forms: &str) -> u32 {
    let three = |form: &str| <[u8; 3]>::try_from(form.as_bytes()).ok().filter(|form| form.is_ascii());
    forms.split(' ').find_map(three).map_or(0, packed)
}

fn packed(letters: [u8; 3]) -> u32 {
    let [a, b, c] = letters.map(|letter| letter.to_ascii_lowercase());
    u32::from_le_bytes([a, b, c, 1])
}

fn longest(names: &[&str], three_letters: &[u32], text: &str) -> Option<(i32, usize)> {
    // A longer name would go on with a letter or a dot.
    if let [a, b, c, rest @ ..] = text.as_bytes()
        && rest.first().is_none_or(|next| next.is_ascii() && !next.is_ascii_alphabetic() && *next != b'.')
        && let key = packed([*a, *b, *c])
        && let Some((number, _)) = (1..).zip(three_letters).find(|(_, three)| **three == key)
    {
        return Some((number, 3));
    }
    let mut best: Option<(i32, usize)> = None;
    for (number, forms) in (1..).zip(names) {
        for form in forms.split(' ') {
            if let Some(length) = prefix(form, text)
                && best.is_none_or(|(_, longest)| length > longest)
            {
                best = Some((number, length));
            }
        }
    }
    best
}

/// How many bytes of `text` say `name`, whatever their case.
pub(super) fn prefix(name: &str, text: &str) -> Option<usize> {
    let differ = std::iter::zip(name.bytes(), text.bytes()).find(|(want, found)| !want.eq_ignore_ascii_case(found));
    match differ {
        None if name.len() <= text.len() => Some(name.len()),
        // Within ASCII that is the whole truth.
        Some((want, found)) if want.is_ascii() && found.is_ascii() => None,
        None if text.is_ascii() => None,
        _ => prefix_of_any(name, text),
    }
}

fn prefix_of_any(name: &str, text: &str) -> Option<usize> {
    let mut rest = text.chars();
    for char in name.chars() {
        let found = rest.next()?;
        if found != char && !found.to_lowercase().eq(char.to_lowercase()) {
            return None;
        }
    }
    Some(text.len() - rest.as_str().len())
}

/// English is the first: the default.
const LANGUAGES: [Names; 25] = [
    Names {
        language: "en",
        months: [
            "January Jan",
            "February Feb",
            "March Mar",
            "April Apr",
            "May",
            "June Jun",
            "July Jul",
            "August Aug",
            "September Sep Sept",
            "October Oct",
            "November Nov",
            "December Dec",
        ],
        weekdays: [
            "Monday Mon",
            "Tuesday Tue",
            "Wednesday Wed",
            "Thursday Thu",
            "Friday Fri",
            "Saturday Sat",
            "Sunday Sun",
        ],
    },
    Names {
        language: "cs",
        months: [
            "leden ledna led",
            "únor února úno",
            "březen března bře",
            "duben dubna dub",
            "květen května kvě",
            "červen června čvn",
            "červenec července čvc",
            "srpen srpna srp",
            "září zář",
            "říjen října říj",
            "listopad listopadu lis",
            "prosinec prosince pro",
        ],
        weekdays: ["pondělí po", "úterý út", "středa st", "čtvrtek čt", "pátek pá", "sobota so", "neděle ne"],
    },
    Names {
        language: "da",
        months: [
            "januar jan jan.",
            "februar feb feb.",
            "marts mar mar.",
            "april apr apr.",
            "maj",
            "juni jun jun.",
            "juli jul jul.",
            "august aug aug.",
            "september sep sep.",
            "oktober okt okt.",
            "november nov nov.",
            "december dec dec.",
        ],
        weekdays: [
            "mandag man man. ma",
            "tirsdag tir tirs. ti",
            "onsdag ons ons. on",
            "torsdag tor tors. to",
            "fredag fre fre. fr",
            "lørdag lør lør. lø",
            "søndag søn søn. sø",
        ],
    },
    Names {
        language: "de",
        months: [
            "Januar Jan Jan. Jänner Jän",
            "Februar Feb Feb.",
            "März Mär Mrz",
            "April Apr Apr.",
            "Mai",
            "Juni Jun",
            "Juli Jul",
            "August Aug Aug.",
            "September Sep Sep. Sept.",
            "Oktober Okt Okt.",
            "November Nov Nov.",
            "Dezember Dez Dez.",
        ],
        weekdays: [
            "Montag Mo Mo.",
            "Dienstag Di Di.",
            "Mittwoch Mi Mi.",
            "Donnerstag Do Do.",
            "Freitag Fr Fr.",
            "Samstag Sa Sa. Sonnabend",
            "Sonntag So So.",
        ],
    },
    Names {
        language: "es",
        months: [
            "enero ene ene.",
            "febrero feb feb.",
            "marzo mar mar.",
            "abril abr abr.",
            "mayo may may.",
            "junio jun jun.",
            "julio jul jul.",
            "agosto ago ago.",
            "septiembre sep sep. sept sept.",
            "octubre oct oct.",
            "noviembre nov nov.",
            "diciembre dic dic.",
        ],
        weekdays: [
            "lunes lun lun.",
            "martes mar mar.",
            "miércoles mié mié.",
            "jueves jue jue.",
            "viernes vie vie.",
            "sábado sáb sáb.",
            "domingo dom dom.",
        ],
    },
    Names {
        language: "fi",
        months: [
            "tammikuu tammikuuta tammi",
            "helmikuu helmikuuta helmi",
            "maaliskuu maaliskuuta maalis",
            "huhtikuu huhtikuuta huhti",
            "toukokuu toukokuuta touko",
            "kesäkuu kesäkuuta kesä",
            "heinäkuu heinäkuuta heinä",
            "elokuu elokuuta elo",
            "syyskuu syyskuuta syys",
            "lokakuu lokakuuta loka",
            "marraskuu marraskuuta marras",
            "joulukuu joulukuuta joulu",
        ],
        weekdays: [
            "maanantai maanantaina ma",
            "tiistai tiistaina ti",
            "keskiviikko keskiviikkona ke",
            "torstai torstaina to",
            "perjantai perjantaina pe",
            "lauantai lauantaina la",
            "sunnuntai sunnuntaina su",
        ],
    },
    Names {
        language: "fr",
        months: [
            "janvier janv. janv jan",
            "février févr. févr fév",
            "mars mar",
            "avril avr. avr",
            "mai",
            "juin",
            "juillet juil. juil",
            "août",
            "septembre sept. sept sep",
            "octobre oct. oct",
            "novembre nov. nov",
            "décembre déc. déc",
        ],
        weekdays: [
            "lundi lun. lun",
            "mardi mar. mar",
            "mercredi mer. mer",
            "jeudi jeu. jeu",
            "vendredi ven. ven",
            "samedi sam. sam",
            "dimanche dim. dim",
        ],
    },
    Names {
        language: "it",
        months: [
            "gennaio gen",
            "febbraio feb",
            "marzo mar",
            "aprile apr",
            "maggio mag",
            "giugno giu",
            "luglio lug",
            "agosto ago",
            "settembre set",
            "ottobre ott",
            "novembre nov",
            "dicembre dic",
        ],
        weekdays: [
            "lunedì lun",
            "martedì mar",
            "mercoledì mer",
            "giovedì gio",
            "venerdì ven",
            "sabato sab",
            "domenica dom",
        ],
    },
    Names {
        language: "nl",
        months: [
            "januari jan jan.",
            "februari feb feb.",
            "maart mrt mrt.",
            "april apr apr.",
            "mei",
            "juni jun jun.",
            "juli jul jul.",
            "augustus aug aug.",
            "september sep sep.",
            "oktober okt okt.",
            "november nov nov.",
            "december dec dec.",
        ],
        weekdays: ["maandag ma", "dinsdag di", "woensdag wo", "donderdag do", "vrijdag vr", "zaterdag za", "zondag zo"],
    },
    Names {
        language: "pl",
        months: [
            "styczeń stycznia sty",
            "luty lutego lut",
            "marzec marca mar",
            "kwiecień kwietnia kwi",
            "maj maja",
            "czerwiec czerwca cze",
            "lipiec lipca lip",
            "sierpień sierpnia sie",
            "wrzesień września wrz",
            "październik października paź",
            "listopad listopada lis",
            "grudzień grudnia gru",
        ],
        weekdays: [
            "poniedziałek pon pon. pn",
            "wtorek wt wt. wto",
            "środa śr śr. śro",
            "czwartek czw czw. cz",
            "piątek pt pt. pią",
            "sobota sob sob. so",
            "niedziela niedz niedz. nie N",
        ],
    },
    Names {
        language: "pt",
        months: [
            "janeiro jan jan.",
            "fevereiro fev fev.",
            "março mar mar.",
            "abril abr abr.",
            "maio mai mai.",
            "junho jun jun.",
            "julho jul jul.",
            "agosto ago ago.",
            "setembro set set.",
            "outubro out out.",
            "novembro nov nov.",
            "dezembro dez dez.",
        ],
        weekdays: [
            "segunda-feira seg seg.",
            "terça-feira ter ter.",
            "quarta-feira qua qua.",
            "quinta-feira qui qui.",
            "sexta-feira sex sex.",
            "sábado sáb sáb.",
            "domingo dom dom.",
        ],
    },
    Names {
        language: "sv",
        months: [
            "januari jan jan.",
            "februari feb feb. febr.",
            "mars mar",
            "april apr apr.",
            "maj",
            "juni jun",
            "juli jul",
            "augusti aug aug.",
            "september sep sep. sept.",
            "oktober okt okt.",
            "november nov nov.",
            "december dec dec.",
        ],
        weekdays: [
            "måndag mån må",
            "tisdag tis ti",
            "onsdag ons on",
            "torsdag tors to tor",
            "fredag fre fr",
            "lördag lör lö",
            "söndag sön sö",
        ],
    },
    Names {
        language: "bg",
        months: [
            "януари яну I",
            "февруари фев II",
            "март III",
            "април апр IV",
            "май V",
            "юни VI",
            "юли VII",
            "август авг VIII",
            "септември сеп IX",
            "октомври окт X",
            "ноември ное XI",
            "декември дек XII",
        ],
        weekdays: ["понеделник пн", "вторник вт", "сряда ср", "четвъртък чт", "петък пт", "събота сб", "неделя нд"],
    },
    Names {
        language: "el",
        months: [
            "Ιανουαρίου Ιανουάριος Ιαν",
            "Φεβρουαρίου Φεβρουάριος Φεβ",
            "Μαρτίου Μάρτιος Μαρ Μάρ",
            "Απριλίου Απρίλιος Απρ",
            "Μαΐου Μάιος Μαΐ Μάι Μάϊος Μαϊ",
            "Ιουνίου Ιούνιος Ιουν Ιούν",
            "Ιουλίου Ιούλιος Ιουλ Ιούλ",
            "Αυγούστου Αύγουστος Αυγ Αύγ",
            "Σεπτεμβρίου Σεπτέμβριος Σεπ",
            "Οκτωβρίου Οκτώβριος Οκτ",
            "Νοεμβρίου Νοέμβριος Νοε Νοέ",
            "Δεκεμβρίου Δεκέμβριος Δεκ",
        ],
        weekdays: [
            "Δευτέρα Δευ",
            "Τρίτη Τρί Τρι",
            "Τετάρτη Τετ",
            "Πέμπτη Πέμ Πεμ",
            "Παρασκευή Παρ",
            "Σάββατο Σάβ Σαβ",
            "Κυριακή Κυρ",
        ],
    },
    Names {
        language: "hr",
        months: [
            "siječnja siječanj sij",
            "veljače veljača velj vel",
            "ožujka ožujak ožu",
            "travnja travanj tra",
            "svibnja svibanj svi",
            "lipnja lipanj lip",
            "srpnja srpanj srp",
            "kolovoza kolovoz kol",
            "rujna rujan ruj",
            "listopada listopad lis",
            "studenoga studeni stu",
            "prosinca prosinac pro",
        ],
        weekdays: [
            "ponedjeljak pon",
            "utorak uto",
            "srijeda sri",
            "četvrtak čet",
            "petak pet",
            "subota sub",
            "nedjelja ned",
        ],
    },
    Names {
        language: "hu",
        months: [
            "január jan. jan",
            "február febr. febr",
            "március márc. márc",
            "április ápr. ápr",
            "május máj. máj",
            "június jún. jún",
            "július júl. júl",
            "augusztus aug. aug",
            "szeptember szept. szept",
            "október okt. okt",
            "november nov. nov",
            "december dec. dec",
        ],
        weekdays: ["hétfő H", "kedd K", "szerda Sze", "csütörtök Cs", "péntek P", "szombat Szo", "vasárnap V"],
    },
    Names {
        language: "ja",
        months: ["1月", "2月", "3月", "4月", "5月", "6月", "7月", "8月", "9月", "10月", "11月", "12月"],
        weekdays: ["月曜日 月", "火曜日 火", "水曜日 水", "木曜日 木", "金曜日 金", "土曜日 土", "日曜日 日"],
    },
    Names {
        language: "ko",
        months: ["1월", "2월", "3월", "4월", "5월", "6월", "7월", "8월", "9월", "10월", "11월", "12월"],
        weekdays: ["월요일 월", "화요일 화", "수요일 수", "목요일 목", "금요일 금", "토요일 토", "일요일 일"],
    },
    Names {
        language: "nb",
        months: [
            "januar jan. jan",
            "februar feb. feb",
            "mars mar. mar",
            "april apr. apr",
            "mai",
            "juni jun. jun",
            "juli jul. jul",
            "august aug. aug",
            "september sep. sep",
            "oktober okt. okt",
            "november nov. nov",
            "desember des. des",
        ],
        weekdays: [
            "mandag man. man ma ma.",
            "tirsdag tir. tir ti ti.",
            "onsdag ons. ons on on.",
            "torsdag tor. tor to to.",
            "fredag fre. fre fr fr.",
            "lørdag lør. lør lø lø.",
            "søndag søn. søn sø sø.",
        ],
    },
    Names {
        language: "ro",
        months: [
            "ianuarie ian. ian",
            "februarie feb. feb",
            "martie mar. mar",
            "aprilie apr. apr",
            "mai",
            "iunie iun. iun",
            "iulie iul. iul",
            "august aug. aug",
            "septembrie sept. sept Sep",
            "octombrie oct. oct",
            "noiembrie nov. nov",
            "decembrie dec. dec",
        ],
        weekdays: [
            "luni lun. lun L Lu",
            "marți mar. mar marţi Ma",
            "miercuri mie. mie Mi",
            "joi J Jo",
            "vineri vin. vin V Vi",
            "sâmbătă sâm. sâm S Sâ",
            "duminică dum. dum D Du",
        ],
    },
    Names {
        language: "ru",
        months: [
            "января январь янв. янв",
            "февраля февраль февр. февр фев",
            "марта март мар. мар",
            "апреля апрель апр. апр",
            "мая май",
            "июня июнь июн. июн",
            "июля июль июл. июл",
            "августа август авг. авг",
            "сентября сентябрь сент. сент сен",
            "октября октябрь окт. окт",
            "ноября ноябрь нояб. нояб ноя",
            "декабря декабрь дек. дек",
        ],
        weekdays: [
            "понедельник пн",
            "вторник вт",
            "среда ср",
            "четверг чт",
            "пятница пт",
            "суббота сб",
            "воскресенье вс",
        ],
    },
    Names {
        language: "sk",
        months: [
            "januára január jan",
            "februára február feb",
            "marca marec mar",
            "apríla apríl apr",
            "mája máj",
            "júna jún",
            "júla júl",
            "augusta august aug",
            "septembra september sep",
            "októbra október okt",
            "novembra november nov",
            "decembra december dec",
        ],
        weekdays: ["pondelok po", "utorok ut", "streda st", "štvrtok št", "piatok pi", "sobota so", "nedeľa ne"],
    },
    Names {
        language: "tr",
        months: [
            "Ocak Oca",
            "Şubat Şub",
            "Mart Mar",
            "Nisan Nis",
            "Mayıs May",
            "Haziran Haz",
            "Temmuz Tem",
            "Ağustos Ağu",
            "Eylül Eyl",
            "Ekim Eki",
            "Kasım Kas",
            "Aralık Ara",
        ],
        weekdays: [
            "Pazartesi Pzt",
            "Salı Sal",
            "Çarşamba Çar",
            "Perşembe Per",
            "Cuma Cum",
            "Cumartesi Cmt",
            "Pazar Paz",
        ],
    },
    Names {
        language: "uk",
        months: [
            "січня січень січ. січ",
            "лютого лютий лют. лют",
            "березня березень бер. бер",
            "квітня квітень квіт. квіт кві",
            "травня травень трав. трав тра",
            "червня червень черв. черв чер",
            "липня липень лип. лип",
            "серпня серпень серп. серп сер",
            "вересня вересень вер. вер",
            "жовтня жовтень жовт. жовт жов",
            "листопада листопад лист. лист лис",
            "грудня грудень груд. груд гру",
        ],
        weekdays: [
            "понеділок пн",
            "вівторок вт",
            "середа ср",
            "четвер чт",
            "пʼятниця пт п'ятниця",
            "субота сб",
            "неділя нд",
        ],
    },
    Names {
        language: "zh",
        months: [
            "一月 1月",
            "二月 2月",
            "三月 3月",
            "四月 4月",
            "五月 5月",
            "六月 6月",
            "七月 7月",
            "八月 8月",
            "九月 9月",
            "十月 10月",
            "十一月 11月",
            "十二月 12月",
        ],
        weekdays: [
            "星期一 周一",
            "星期二 周二",
            "星期三 周三",
            "星期四 周四",
            "星期五 周五",
            "星期六 周六",
            "星期日 周日",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_name_in_any_case() {
        let locale = |text| Locale::parse(text).expect("a language");
        assert_eq!(locale("en").month("JUNE 3"), Some((6, 4)));
        assert_eq!(locale("en_US").month("jun 3"), Some((6, 3)));
        assert_eq!(locale("fr-FR").month("juillet 1789"), Some((7, 7)));
        assert_eq!(locale("fr").month("AOÛT"), Some((8, 5)));
        assert_eq!(locale("de").month("märz"), Some((3, 5)));
        assert_eq!(locale("cs").month("července"), Some((7, 9)));
        assert_eq!(locale("de").weekday("So 3"), Some((7, 2)));
        assert_eq!(locale("en").month("Juillet"), None);
        assert!(Locale::parse("xx").is_none());
    }

    /// Guarantee: no form of a name means two months, or two days.
    #[test]
    fn names_are_distinct() {
        for names in &LANGUAGES {
            for (number, forms) in (1..).zip(names.months) {
                for form in forms.split(' ') {
                    let found = Locale::of(names).month(form);
                    assert_eq!(found, Some((number, form.len())), "{}: {form}", names.language);
                }
            }
            for (number, forms) in (1..).zip(names.weekdays) {
                for form in forms.split(' ') {
                    let found = Locale::of(names).weekday(form);
                    assert_eq!(found, Some((number, form.len())), "{}: {form}", names.language);
                }
            }
        }
    }
}
