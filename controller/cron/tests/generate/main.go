// Writes what robfig/cron and package time answer, one JSON object a line: `go run . .. ` in this directory.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

type vector struct {
	Spec  string  `json:"spec"`
	Zone  string  `json:"zone,omitempty"`
	From  int64   `json:"from,omitempty"`
	Next  []int64 `json:"next,omitempty"`
	Error string  `json:"error,omitempty"`
}

type duration struct {
	Text        string `json:"text"`
	Nanoseconds int64  `json:"nanoseconds,omitempty"`
	Written     string `json:"written,omitempty"`
	Error       string `json:"error,omitempty"`
}

func main() {
	write("vectors.jsonl", vectors())
	write("durations.jsonl", durations())
}

func write[T any](name string, values []T) {
	file, err := os.Create(filepath.Join(os.Args[1], name))
	check(err)
	encoder := json.NewEncoder(file)
	encoder.SetEscapeHTML(false)
	for _, value := range values {
		check(encoder.Encode(value))
	}
	check(file.Close())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func vectors() []vector {
	random := rand.New(rand.NewSource(1))
	var all []vector
	for _, spec := range curated {
		all = append(all, answer(spec, "", time.Date(2026, 11, 25, 21, 40, 7, 0, time.UTC), 3))
	}
	for _, change := range changes {
		base, err := time.Parse(time.RFC3339, change.around)
		check(err)
		for _, spec := range aroundChanges {
			all = append(all, answer(spec, change.zone, base.Add(-26*time.Hour), 4))
			all = append(all, answer(spec, change.zone, base.Add(-90*time.Minute), 4))
		}
		for range 15 {
			from := base.Add(time.Duration(random.Intn(50*3600)-26*3600) * time.Second)
			all = append(all, answer(randomSpec(random), change.zone, from, 3))
		}
	}
	for range 900 {
		from := time.Unix(1700000000+random.Int63n(400000000), 0)
		all = append(all, answer(randomSpec(random), "", from, 3))
	}
	for range 400 {
		all = append(all, answer(garbage(random), "", time.Unix(1764106800, 0), 1))
	}
	return all
}

// answer asks for `times` times in a row. The original panics on a zone without a schedule; those are not asked.
func answer(spec, zone string, from time.Time, times int) vector {
	location, err := time.LoadLocation(zone)
	check(err)
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return vector{Spec: spec, Error: err.Error()}
	}
	result := vector{Spec: spec, Zone: zone, From: from.Unix()}
	at := from.In(location)
	for range times {
		at = schedule.Next(at)
		if at.IsZero() {
			result.Next = append(result.Next, 0)
			break
		}
		result.Next = append(result.Next, at.Unix())
	}
	return result
}

var curated = []string{
	"* * * * *", "*/6 * * * *", "0 9-17/2 * * *", "5/15 * * * *", "1,2-3 * * * *", "TZ=UTC 0 3 * * *",
	"CRON_TZ=Europe/Prague 30 2 * * *", "@daily", "@hourly", "@yearly", "@annually", "@monthly", "@weekly", "@midnight",
	"@every 1h", "@every 1h30m10s", "@every 1.7s", "@every 0", "@every -5s", "@every 1", "@every", "@every ", "@every x",
	"0 0 * * MON", "0 0 ? * *", "0 0 * * 1,3-5", "@dailyx", "12345", "0 0 1 1 * *", "garbage 1 2 3 4 5", "0 0 * * 7",
	"0 0 31 2 *", "0 0 29 2 *", "0 0 30 2 1", "0 0 31 4 *", "", " ", "@", "@Daily", "0 0 1-31 * 1", "0 0 */2 * 1",
	"0 0 */1 * 1", "0 0 1 * */1", "0 0 1 * */2", "0 0 ?/1 * 1", "? ? ? ? ?", "*-5 * * * *", "*-5/7 * * * *",
	"*-a-b * * * *", "+5 * * * *", "-5 * * * *", "5- * * * *", "5-+7 * * * *", "*/+7 * * * *", "*/-7 * * * *",
	"*/0 * * * *", "*/99 * * * *", "0/59 * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *",
	"* * * 13 *", "* * * jan-mar *", "* * * JAN,Dec *", "* * * mar-jan *", "* * * * sun-sat", "* * * * fri-mon",
	"* * * * sunday", "jan * * * *", "* * * * 0,mon/2", "1,,2 * * * *", ",1 * * * *", "1,x * * * *", "1/2/3 * * * *",
	"1-2-3 * * * *", "1-2-3/4/5 * * * *", "99999999999999999999 * * * *", "9223372036854775807 * * * *",
	"*/9223372036854775807 * * * *", "*/9223372036854775808 * * * *", "0x1 * * * *", "1_0 * * * *", "\t0\t3 *  * *\n",
	"TZ= 0 3 * * *", "TZ=Nowhere/No 0 3 * * *", "TZ=Asia/Kolkata @daily", "TZ=Asia/Kolkata @every 1h",
	"TZ=Asia/Kolkata   0 3 * * *  ", "CRON_TZ=America/New_York 0 0 * * *", "TZ=UTC 1 2 3", " TZ=UTC 0 3 * * *",
	"tz=UTC 0 3 * * *", "TZ=UTC TZ=UTC 0 3 * * *", "0 0 * * \u00a0*", "0\u00a00 * * *", "@every 2562047h47m16.854775807s",
	"@every 9999999h", "0 0 13 * 5", "59 23 31 12 *", "0 0 1 1 0", "15 10 L * *", "0 0 15W * *", "0 0 * * 5#3",
}

var aroundChanges = []string{
	"0 0 * * *", "30 0 * * *", "0 1 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *", "15 2 * * *", "0 3 * * *", "30 3 * * *",
	"30 23 * * *", "0 * * * *", "*/20 * * * *", "30 */2 * * *", "0 0 1 * *", "0 2 * * 0", "@daily", "@every 45m",
}

// The instants at which clocks change: at midnight, by half an hour, by two hours, forward and back.
var changes = []struct{ zone, around string }{
	{"Europe/Prague", "2027-03-28T01:00:00Z"}, {"Europe/Prague", "2026-10-25T01:00:00Z"},
	{"America/New_York", "2027-03-14T07:00:00Z"}, {"America/New_York", "2026-11-01T06:00:00Z"},
	{"Europe/London", "2027-03-28T01:00:00Z"}, {"Europe/London", "2026-10-25T01:00:00Z"},
	{"America/Sao_Paulo", "2017-10-15T03:00:00Z"}, {"America/Sao_Paulo", "2018-02-18T02:00:00Z"},
	{"America/Havana", "2024-03-10T05:00:00Z"}, {"America/Havana", "2024-11-03T05:00:00Z"},
	{"Africa/Cairo", "2024-04-25T22:00:00Z"}, {"Africa/Cairo", "2024-10-31T21:00:00Z"},
	{"America/Santiago", "2024-04-07T03:00:00Z"}, {"America/Santiago", "2024-09-08T04:00:00Z"},
	{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"}, {"Australia/Lord_Howe", "2026-04-04T15:00:00Z"},
	{"Antarctica/Troll", "2027-03-28T01:00:00Z"}, {"Antarctica/Troll", "2026-10-25T01:00:00Z"},
	{"Asia/Beirut", "2024-03-30T22:00:00Z"}, {"Asia/Beirut", "2024-10-26T21:00:00Z"},
	{"Asia/Kathmandu", "2026-11-25T21:00:00Z"}, {"Europe/Dublin", "2026-10-25T01:00:00Z"},
	{"Pacific/Chatham", "2026-09-26T14:00:00Z"}, {"America/St_Johns", "2027-03-14T05:30:00Z"},
}

func randomSpec(random *rand.Rand) string {
	return fmt.Sprintf("%s %s %s %s %s", field(random, 0, 59, nil), field(random, 0, 23, nil), field(random, 1, 31, nil),
		field(random, 1, 12, months), field(random, 0, 6, weekdays))
}

var months = []string{"", "jan", "Feb", "MAR", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
var weekdays = []string{"sun", "Mon", "TUE", "wed", "thu", "fri", "sat"}

func field(random *rand.Rand, low, high int, names []string) string {
	if random.Intn(3) == 0 {
		return []string{"*", "*", "*", "?", "*/1"}[random.Intn(5)]
	}
	result := part(random, low, high, names)
	for random.Intn(4) == 0 {
		result += "," + part(random, low, high, names)
	}
	return result
}

func part(random *rand.Rand, low, high int, names []string) string {
	a := low + random.Intn(high-low+1)
	b := a + random.Intn(high-a+1)
	switch random.Intn(6) {
	case 0:
		return fmt.Sprintf("%d-%d", a, b)
	case 1:
		return fmt.Sprintf("%d-%d/%d", a, b, 1+random.Intn(9))
	case 2:
		return fmt.Sprintf("%d/%d", a, 1+random.Intn(20))
	case 3:
		return fmt.Sprintf("*/%d", 1+random.Intn(20))
	}
	if names != nil && random.Intn(2) == 0 {
		return names[a]
	}
	return fmt.Sprint(a)
}

// garbage breaks one character of a schedule.
func garbage(random *rand.Rand) string {
	spec := []byte(randomSpec(random))
	spec[random.Intn(len(spec))] = []byte("*?/,-0179 x+")[random.Intn(12)]
	return string(spec)
}

func durations() []duration {
	texts := []string{
		"0", "", "+", "-", "+0", "-0", "1", "1.", ".", ".s", "1.s", ".5s", "1s", "-1s", "1h2m3s4ms5us6ns", "1µs", "1μs", "1d",
		"1 s", "1s ", "1S", "1.0000000000000000000001s", "0.3333333333333333333h", "0.9223372036854775807s",
		"9223372036854775807ns", "9223372036854775808ns", "-9223372036854775808ns", "-9223372036854775809ns",
		"9223372036854775.807us", "9223372036854.775807ms", "9223372036.854775807s", "9223372036.854775808s",
		"2562047h47m16.854775807s", "2562048h", "99999999999999999999s", "1h-1m", "1.5.5s", "1\"s", "1\\s", "1é", "1ns1ns",
		"0.1ns", "0.999ns", "1.7ns", "0.830103483285477580700h", "0.100000000000000000000h", "39h9m14.425s", "1\x7fs",
	}
	random := rand.New(rand.NewSource(2))
	for range 100 {
		texts = append(texts, time.Duration(random.Int63()>>random.Intn(62)).String())
	}
	var all []duration
	for _, text := range texts {
		value, err := time.ParseDuration(text)
		if err != nil {
			all = append(all, duration{Text: text, Error: err.Error()})
			continue
		}
		written := ""
		if value >= 0 {
			written = value.String()
		}
		all = append(all, duration{Text: text, Nanoseconds: int64(value), Written: written})
	}
	return all
}
