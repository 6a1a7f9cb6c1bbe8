//! The pipelines and examples of this repository, each run in a folder of its own.
//!
//! What they make is compared with what is worked out here, from the raw data, in another way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::common::{Got, TestDir, same};

/// A workspace with a copy of a folder of this repository, without what flow made there.
pub fn copy_of(folder: &str) -> TestDir {
    let dir = TestDir::new(&[]);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &dir.path("."));
    dir
}

/// Copies a folder of this repository, without what flow made there.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if ["out", ".flow", ".gitignore"].iter().any(|left_out| name == *left_out) {
            continue;
        }
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// The tasks with this word before them, in a listing of a run.
fn tasks(got: &Got, word: &str) -> BTreeSet<String> {
    let told = got.err.lines().filter_map(|line| line.strip_prefix(' ')?.strip_prefix(word));
    told.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
}

fn set(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// The last line of a run, without the time that was saved: it hangs on how long something took.
#[track_caller]
fn summary(got: &Got, want: &str) {
    let line = got.err.lines().last().unwrap_or_default();
    same(line.split(" (saved").next().unwrap_or_default(), want);
}

/// One hour of an export: date as `2010-01-01`, hour, °C to the second place.
struct Hour {
    date: String,
    hour: u32,
    celsius: f64,
}

/// An export read here, by the place of its columns.
fn export(dir: &TestDir, file: &str, date_column: usize, temp_column: usize) -> Vec<Hour> {
    let text = dir.read(file);
    let hours = text.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.trim().split(',').collect();
        let (date, clock) = cells[date_column].split_once(' ').unwrap();
        let fahrenheit: f64 = cells[temp_column].parse().unwrap();
        Hour {
            date: date.replace('/', "-"),
            hour: clock.split(':').next().unwrap().parse().unwrap(),
            celsius: ((fahrenheit - 32.0) / 1.8 * 100.0).round() / 100.0,
        }
    });
    hours.collect()
}

/// Minimum, mean, maximum by a part of the date: 10 bytes are a day, 7 a month.
fn by(hours: &[Hour], bytes: usize) -> BTreeMap<String, (f64, f64, f64)> {
    let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for hour in hours {
        groups.entry(hour.date[..bytes].to_owned()).or_default().push(hour.celsius);
    }
    let facts = groups.into_iter().map(|(date, list)| {
        let mean = list.iter().sum::<f64>() / list.len() as f64;
        let low = list.iter().copied().fold(f64::INFINITY, f64::min);
        let high = list.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (date, (low, mean, high))
    });
    facts.collect()
}

/// The rows of a table below its names.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap_or_else(|_| panic!("{cell} is no number"))
}

fn near(got: f64, want: f64, by: f64) -> bool {
    (got - want).abs() <= by + 1e-9
}

const CITIES: [(&str, usize, usize); 2] = [("seattle", 0, 1), ("sf", 1, 0)];

#[test]
fn weather_comes_out_as_worked_out_here() {
    let dir = copy_of("pipelines");
    summary(&dir.flow(&["run", "weather.yaml"]).code(0), " weather: 20 ran in [..]s");

    for ((city, date, temp), (warmest, mean)) in CITIES.into_iter().zip([("2010-08", 18.406), ("2010-09", 16.937)]) {
        let hours = export(&dir, &format!("weather/{city}-temps.csv"), date, temp);
        assert_eq!(hours.len(), 8759, "{city}");

        // Each hour, in another order of columns and another date.
        let clean: BTreeMap<String, String> = dir
            .read(&format!("out/weather/clean/{city}.csv"))
            .lines()
            .map(|line| line.rsplit_once(',').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(clean.len(), 8759, "{city}");
        for hour in &hours {
            let key = format!("{},{:02}", hour.date, hour.hour);
            assert_eq!(clean.get(&key), Some(&format!("{:.2}", hour.celsius)), "{city} {key}");
        }

        // Each day.
        let days = by(&hours, 10);
        let made = rows(&dir.read(&format!("out/weather/daily/{city}.csv")));
        assert_eq!((days.len(), made.len()), (365, 365), "{city}");
        for row in &made {
            let (low, mean, high) = days[&row[0]];
            assert!(near(number(&row[1]), low, 0.0) && near(number(&row[3]), high, 0.0), "{city} {row:?}: {low} {high}");
            assert!(near(number(&row[2]), mean, 0.005), "{city} {row:?}: {mean}");
        }

        // Each month: the mean is one of daily means, which differs a little from that of the hours.
        let months = by(&hours, 7);
        let made = rows(&dir.read(&format!("out/weather/climate/{city}.csv")));
        assert_eq!((months.len(), made.len()), (12, 12), "{city}");
        for row in &made {
            let (low, mean, high) = months[&row[0]];
            assert!(near(number(&row[1]), low, 0.05) && near(number(&row[3]), high, 0.05), "{city} {row:?}: {low} {high}");
            assert!(near(number(&row[2]), mean, 0.02), "{city} {row:?}: {mean}");
        }
        let (month, facts) = months.iter().max_by(|a, b| a.1.1.total_cmp(&b.1.1)).unwrap();
        assert_eq!(month, warmest, "{city}");
        assert!(near(facts.1, mean, 0.0006), "{city} {}", facts.1);
        let page = dir.read("out/weather/report.md");
        let section = page.split(&format!("## {city}, ")).nth(1).unwrap().split("\n## ").next().unwrap();
        assert!(section.contains(&format!("The warmest month was {warmest},")), "{section}");

        // A file for each month, and each day in one of them.
        let folder = format!("out/weather/months/{city}");
        let names: BTreeSet<String> =
            std::fs::read_dir(dir.path(&folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names, (1..=12).map(|month| format!("{month:02}.csv")).collect(), "{city}");
        assert_eq!(names.iter().map(|name| rows(&dir.read(&format!("{folder}/{name}"))).len()).sum::<usize>(), 365, "{city}");
    }

    // Side by side: on each day the warmer one, counted.
    let [seattle, sf] = CITIES.map(|(city, _, _)| rows(&dir.read(&format!("out/weather/daily/{city}.csv"))));
    let mut wins = [0, 0, 0];
    for (a, b) in seattle.iter().zip(&sf) {
        assert_eq!(a[0], b[0]);
        let order = number(&a[2]).total_cmp(&number(&b[2]));
        wins[match order {
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Less => 1,
            std::cmp::Ordering::Equal => 2,
        }] += 1;
    }
    let counted: Vec<u32> = rows(&dir.read("out/weather/compare/warmest.csv")).iter().map(|row| row[1].parse().unwrap()).collect();
    assert_eq!(counted, wins);

    // Extremes: the first day with the lowest minimum, the highest maximum, the widest range; cool and warm days.
    let made = rows(&dir.read("out/weather/extremes.csv"));
    for (row, (city, date, temp)) in made.iter().zip(CITIES) {
        let days = by(&export(&dir, &format!("weather/{city}-temps.csv"), date, temp), 10);
        let first = |best: f64, of: fn(&(f64, f64, f64)) -> f64| days.iter().find(|(_, facts)| of(facts) == best).unwrap().0.as_str();
        let coldest = days.values().map(|day| day.0).fold(f64::INFINITY, f64::min);
        let hottest = days.values().map(|day| day.2).fold(f64::NEG_INFINITY, f64::max);
        let widest = days.values().map(|day| day.2 - day.0).fold(f64::NEG_INFINITY, f64::max);
        let cool = days.values().filter(|day| day.0 < 5.0).count().to_string();
        let warm = days.values().filter(|day| day.2 >= 20.0).count().to_string();
        assert_eq!(
            [&row[0], &row[1], &row[3], &row[7], &row[8]],
            [city, first(coldest, |day| day.0), first(hottest, |day| day.2), &cool, &warm]
        );
        for (cell, want) in [(2, coldest), (4, hottest), (6, widest)] {
            assert!(near(number(&row[cell]), want, 0.05), "{row:?}: {want}");
        }
    }
    assert_eq!(made.len(), 2);

    for picture in ["chart.svg", "clock/seattle.svg", "clock/sf.svg"] {
        let text = dir.read(&format!("out/weather/{picture}"));
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>") && text.len() > 2000, "{picture}");
    }
}

#[test]
fn weather_runs_what_it_must_and_no_more() {
    let dir = copy_of("pipelines");
    let flow = |args: &[&str]| dir.flow(&[&["run", "weather.yaml"], args].concat());
    summary(&flow(&[]).code(0), " weather: 20 ran in [..]s");
    let report = dir.read("out/weather/report.md");
    let before = dir.tree("out");
    let again = flow(&[]).code(0);
    same(&again.err, " weather: 20 up to date in [..]s\n");
    assert_eq!(dir.tree("out"), before);

    // A setting: who uses it, and what builds on that.
    let warm = flow(&["--set", "warm=22"]).code(0);
    summary(&warm, " weather: 5 ran, 15 up to date in [..]s");
    assert_eq!(tasks(&warm, "ran"), set("climate@city=seattle climate@city=sf extremes report announce"));
    assert_ne!(dir.read("out/weather/report.md"), report);
    let back = flow(&[]).code(0);
    summary(&back, " weather: 1 ran, 4 restored, 15 up to date in [..]s");
    assert_eq!(tasks(&back, "restored"), set("climate@city=seattle climate@city=sf extremes report"));
    assert_eq!(dir.read("out/weather/report.md"), report);

    // One city's export: that city, and what reads both.
    dir.edit("weather/seattle-temps.csv", "2010/01/01 00:00,39.4", "2010/01/01 00:00,99.4");
    let edited = flow(&[]).code(0);
    summary(&edited, " weather: 13 ran, 7 up to date in [..]s");
    let seattle = "clean@city=seattle verify@city=seattle daily@city=seattle months@city=seattle climate@city=seattle \
                   hours@city=seattle clock@city=seattle";
    let both = "exports compare extremes chart report announce";
    assert_eq!(tasks(&edited, "ran"), set(&format!("{seattle} {both}")));
    assert_ne!(dir.read("out/weather/report.md"), report);
    dir.edit("weather/seattle-temps.csv", "2010/01/01 00:00,99.4", "2010/01/01 00:00,39.4");
    flow(&[]).code(0);
    assert_eq!(dir.read("out/weather/report.md"), report);
}

#[test]
fn weather_stops_at_a_missing_day() {
    let dir = copy_of("pipelines");
    let whole = dir.read("weather/sf-temps.csv");
    let without: String = whole.lines().filter(|line| !line.contains("2010/06/15")).map(|line| format!("{line}\n")).collect();
    dir.write("weather/sf-temps.csv", &without);
    let got = dir.flow(&["run", "weather.yaml", "--keep-going"]).code(1);
    assert_eq!(tasks(&got, "failed"), set("verify@city=sf"));
    assert!(got.err.contains("2010-06-15 has 0 hours of 23"), "{}", got.err);
    let seattle = "clean@city=seattle verify@city=seattle daily@city=seattle months@city=seattle climate@city=seattle \
                   hours@city=seattle clock@city=seattle";
    assert_eq!(tasks(&got, "ran"), set(&format!("{seattle} exports clean@city=sf")));
    assert!(!dir.has("out/weather/daily/sf.csv") && !dir.has("out/weather/report.md"));
    let status = dir.flow(&["status", "weather.yaml", "--json"]).code(0).json();
    let states: BTreeMap<&str, &str> =
        status["tasks"].as_array().unwrap().iter().map(|task| (task["task"].as_str().unwrap(), task["state"].as_str().unwrap())).collect();
    assert_eq!(states["verify@city=sf"], "failed");
    for task in "daily@city=sf hours@city=sf months@city=sf climate@city=sf clock@city=sf compare extremes chart report announce".split(' ')
    {
        assert_eq!(states[task], "blocked", "{task}");
    }

    // Mended, it goes on where it stood.
    dir.write("weather/sf-temps.csv", &whole);
    let mended = dir.flow(&["resume", "weather.yaml"]).code(0);
    summary(&mended, " weather: 13 ran, 7 up to date in [..]s");
}

#[test]
fn weather_takes_another_city_as_one_more_column() {
    let dir = copy_of("pipelines");
    dir.flow(&["run", "weather.yaml"]).code(0);
    dir.write("weather/oslo-temps.csv", &dir.read("weather/sf-temps.csv").replace("47.8,", "17.8,"));
    let oslo = "    - name: oslo\n      title: Oslo\n      colour: \"#38a169\"\n      file: weather/oslo-temps.csv\n      date_column: 2\n      \
                temp_column: 1\n      date_format: YYYY/MM/DD hh:mm:ss\n";
    dir.edit("weather.yaml", "\nstages:\n", &format!("{oslo}\nstages:\n"));
    let got = dir.flow(&["run", "weather.yaml"]).code(0);
    summary(&got, " weather: 13 ran, 14 up to date in [..]s");
    let new = "clean@city=oslo verify@city=oslo daily@city=oslo months@city=oslo climate@city=oslo hours@city=oslo clock@city=oslo";
    assert_eq!(tasks(&got, "ran"), set(&format!("{new} exports compare extremes chart report announce")));
    assert!(dir.read("out/weather/report.md").contains("## oslo, month by month"));

    // And one less: its files stay, and are read by nobody.
    dir.edit("weather.yaml", oslo, "");
    dir.remove("weather/oslo-temps.csv");
    let got = dir.flow(&["run", "weather.yaml"]).code(0);
    summary(&got, " weather: 1 ran, 5 restored, 14 up to date in [..]s");
    assert!(dir.has("out/weather/daily/oslo.csv") && !dir.read("out/weather/report.md").contains("oslo"));
}

#[test]
fn weather_killed_in_the_middle_repeats_nothing_that_had_finished() {
    let plain = copy_of("pipelines");
    plain.flow(&["run", "weather.yaml"]).code(0);

    let dir = copy_of("pipelines");
    dir.edit("weather/side-by-side.sh", "set -eu\n", "set -eu\nwhile [ -e hold ]; do sleep 0.01; done\n");
    dir.write("hold", "");
    let mut running = dir.start(&["run", "weather.yaml"]);
    // `compare` holds; of the others only report and announce wait for it.
    dir.wait_until("17 tasks are done", || {
        let events = std::fs::read_to_string(dir.path(".flow/weather.yaml/runs/1/events.jsonl")).unwrap_or_default();
        events.matches("\"event\":\"task_done\"").count() == 17
    });
    running.kill();
    dir.remove("hold");
    let got = dir.flow(&["run", "weather.yaml"]).code(0);
    summary(&got, " weather: 3 ran, 17 up to date in [..]s");
    assert_eq!(tasks(&got, "ran"), set("compare report announce"));
    for file in ["report.md", "chart.svg", "compare/days.csv", "compare/warmest.csv", "extremes.csv"] {
        let path = format!("out/weather/{file}");
        assert_eq!(dir.read(&path), plain.read(&path), "{file}");
    }
}

#[test]
fn weather_can_be_run_from_elsewhere_and_moved() {
    let dir = TestDir::new(&[]);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines"), &dir.path("pipelines"));
    dir.flow(&["run", "pipelines/weather.yaml", "clean"]).code(0);
    assert!(dir.has("pipelines/out/weather/clean/sf.csv") && !dir.has("out"));
    std::fs::rename(dir.path("pipelines"), dir.path("moved here")).unwrap();
    same(&dir.flow(&["run", "moved here/weather.yaml", "clean"]).code(0).err, " weather: 2 up to date in [..]s\n");
}

#[test]
fn the_check_of_this_repository_compiles() {
    let dir = TestDir::new(&[]);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/check.yaml");
    let got = dir.flow(&["check", file.to_str().unwrap(), "--json"]).code(0).json();
    assert_eq!(got["diagnostics"], serde_json::json!([]));
    let got = dir.flow(&["graph", file.to_str().unwrap(), "--json"]).code(0).json();
    let stages: Vec<&str> = got["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(stages, ["format", "lint", "test", "docs"]);
}

#[test]
fn first_steps_go_as_their_page_says() {
    let dir = copy_of("examples/first-steps");
    let run = |args: &[&str]| dir.flow(&[&["run"], args].concat()).code(0);
    let add = |line: &str| dir.write("orders.csv", &format!("{}{line}\n", dir.read("orders.csv")));

    summary(&run(&[]), " pipeline: 4 ran in [..]s");
    assert_eq!(dir.read("out/report.txt"), "acme in Oslo: 155.50\ninitech in Turin: 240.00\n");
    same(&run(&[]).err, " pipeline: 4 up to date in [..]s\n");

    add("1007,globex,45.00");
    let plan = dir.flow(&["plan", "--json"]).code(0).json();
    let verdicts: Vec<(&str, &str)> =
        plan["tasks"].as_array().unwrap().iter().map(|task| (task["task"].as_str().unwrap(), task["verdict"].as_str().unwrap())).collect();
    for verdict in [("clean", "run"), ("totals", "pending"), ("report", "pending"), ("cities", "up_to_date")] {
        assert!(verdicts.contains(&verdict), "{verdicts:?}");
    }
    assert!(dir.flow(&["why", "report"]).code(0).out.contains("orders.csv"));
    assert_eq!(tasks(&run(&[]), "ran"), set("clean totals report"));
    assert_eq!(dir.read("out/report.txt"), "acme in Oslo: 155.50\nglobex in Lyon: 185.25\ninitech in Turin: 240.00\n");

    // A change that changes nothing.
    add("1003,acme,19.90");
    summary(&run(&[]), " pipeline: 1 ran, 3 up to date in [..]s");

    // A setting, and a script.
    assert_eq!(tasks(&run(&["--set", "large=200"]), "ran"), set("report"));
    assert_eq!(dir.read("out/report.txt"), "initech in Turin: 240.00\n");
    assert_eq!(tasks(&run(&[]), "restored"), set("report"));
    dir.edit("total.awk", "%.2f", "%.1f");
    assert_eq!(tasks(&run(&[]), "ran"), set("totals report"));

    // Something lost, something edited.
    dir.remove("out/totals.csv");
    summary(&run(&[]), " pipeline: 1 restored, 3 up to date in [..]s");
    dir.write("out/totals.csv", "mine\n");
    run(&[]);
    let kept: Vec<String> = dir
        .tree(".flow/kept")
        .into_iter()
        .filter(|(_, _, bytes)| bytes == b"mine\n")
        .map(|(path, _, _)| path.display().to_string())
        .collect();
    assert!(kept.len() == 1 && kept[0].ends_with("/out/totals.csv"), "{kept:?}");

    // Looking around.
    dir.flow(&["status", "--check"]).code(0);
    assert_eq!(dir.flow(&["log", "clean"]).code(0).out.lines().last(), Some("7 orders"));
    assert!(dir.flow(&["graph"]).code(0).out.starts_with("digraph"));
    assert!(dir.flow(&["graph", "--format", "mermaid"]).code(0).out.contains("\nflowchart "));
    summary(&run(&["totals"]), " pipeline: 2 up to date in [..]s");
}

#[test]
fn from_make_makes_what_make_makes() {
    let dir = copy_of("examples/from-make");
    let run = |args: &[&str]| dir.flow(&[&["run"], args].concat()).code(0);
    summary(&run(&[]), " pipeline: 7 ran in [..]s");
    let files = ["counts/spring.tsv", "counts/summer.tsv", "counts/winter.tsv", "top.tsv", "lengths.tsv", "page.md"];
    let ours: Vec<String> = files.iter().map(|file| dir.read(&format!("out/{file}"))).collect();
    assert_eq!(ours[3].lines().count(), 5);

    let made = copy_of("examples/from-make");
    let mut make = std::process::Command::new("make");
    make.args(["-s"]).current_dir(made.path(".")).env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env("LC_ALL", "C.UTF-8");
    match make.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let theirs: Vec<String> = files.iter().map(|file| made.read(&format!("out/{file}"))).collect();
            assert_eq!(theirs, ours);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                dir.flow(&["log", "announce"]).code(0).out.lines().last().map(|line| format!("{line}\n")).unwrap()
            );
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }

    // What its page says of each edit.
    assert_eq!(tasks(&run(&["--set", "top=10"]), "ran"), set("top page announce"));
    let back = run(&[]);
    assert_eq!((tasks(&back, "restored"), tasks(&back, "ran")), (set("top page"), set("announce")));
    dir.write("books/spring.txt", &dir.read("books/spring.txt"));
    same(&run(&[]).err, " pipeline: 7 up to date in [..]s\n");
    dir.write("books/spring.txt", &format!("{},\n", dir.read("books/spring.txt").trim_end()));
    assert_eq!(tasks(&run(&[]), "ran"), set("count@book=spring"));
    summary(&run(&["out/top.tsv"]), " pipeline: 4 up to date in [..]s");
    dir.edit("pipeline.yaml", "books: [spring, summer, winter]", "books: [spring, summer]");
    assert_eq!(tasks(&run(&[]), "ran"), set("top lengths page announce"));
    assert!(dir.has("out/counts/winter.tsv") && !dir.read("out/lengths.tsv").contains("winter"));
}
