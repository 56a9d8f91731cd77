// Package calendar knows times that come again, as systemd's OnCalendar= and Go's durations write them.
//
// Source: systemd.time(7), "Calendar events". Not known here are the last days of months ("~") and fractions of seconds.
package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Schedule tells when something is due. The zero value is never.
type Schedule struct {
	every    time.Duration // not 0: that is all
	some     bool          // the rest is meant
	weekdays field         // 0 is Monday
	year     field
	month    field
	day      field
	hour     field
	minute   field
	second   field
	zone     *time.Location // nil: that of who asks
}

// Forms names what Parse understands, for people.
const Forms = `a word (minutely, hourly, daily, weekly, monthly, quarterly, semiannually, yearly), a time as in systemd's OnCalendar ("*-*-* 04:00", "Mon..Fri *:0/15"), a duration ("12h"), or "off"`

// words are systemd's own names.
func words(text string) (string, bool) {
	long, ok := map[string]string{
		"minutely": "*-*-* *:*:00", "hourly": "*-*-* *:00:00", "daily": "*-*-* 00:00:00", "midnight": "*-*-* 00:00:00",
		"weekly": "Mon *-*-* 00:00:00", "monthly": "*-*-01 00:00:00", "quarterly": "*-01,04,07,10-01 00:00:00",
		"semiannually": "*-01,07-01 00:00:00", "semi-annually": "*-01,07-01 00:00:00", "biannually": "*-01,07-01 00:00:00", "bi-annually": "*-01,07-01 00:00:00",
		"yearly": "*-01-01 00:00:00", "annually": "*-01-01 00:00:00", "anually": "*-01-01 00:00:00",
	}[text]
	return long, ok
}

// least is the shortest duration: more often would be a mistake.
const least = time.Minute

// Parse reads a schedule. "off" and nothing are never. The error names the forms that there are.
func Parse(text string) (Schedule, error) {
	s, err := parse(strings.Join(strings.Fields(strings.ToLower(text)), " "))
	if err != nil {
		return Schedule{}, fmt.Errorf("%q says no time: %w; it may be %s", text, err, Forms)
	}
	return s, nil
}

func parse(text string) (Schedule, error) {
	if text == "" || text == "off" || text == "never" {
		return Schedule{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d < least {
			return Schedule{}, fmt.Errorf("%s is too short, the least is %s", d, least)
		}
		return Schedule{every: d}, nil
	}
	rest, zone, err := cutZone(text)
	if err != nil {
		return Schedule{}, err
	}
	if long, ok := words(rest); ok {
		rest = strings.ToLower(long)
	}
	s := Schedule{some: true, zone: zone}
	if err := s.read(strings.Fields(rest)); err != nil {
		return Schedule{}, err
	}
	if s.Next(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errors.New("there is no such day")
	}
	return s, nil
}

// cutZone takes a time zone off the end.
func cutZone(text string) (rest string, zone *time.Location, err error) {
	at := strings.LastIndexByte(text, ' ')
	last := text[at+1:]
	if at < 0 || !strings.ContainsAny(last, "abcdefghijklmnopqrstuvwxyz") {
		return text, nil, nil
	}
	name := last
	if name == "utc" {
		return text[:at], time.UTC, nil
	}
	parts := strings.Split(name, "/") // as zones are written: Europe/Prague, America/New_York
	for i, p := range parts {
		words := strings.Split(p, "_")
		for j, w := range words {
			if w != "" {
				words[j] = strings.ToUpper(w[:1]) + w[1:]
			}
		}
		parts[i] = strings.Join(words, "_")
	}
	zone, err = time.LoadLocation(strings.Join(parts, "/"))
	if err != nil {
		return "", nil, fmt.Errorf("%q is no time zone", last)
	}
	return text[:at], zone, nil
}

// read reads "[weekdays] [date] [time]".
func (s *Schedule) read(parts []string) (err error) {
	date, clock := "*-*-*", "00:00:00"
	if len(parts) > 0 && strings.ContainsAny(parts[0][:1], "abcdefghijklmnopqrstuvwxyz") {
		if s.weekdays, err = parseWeekdays(parts[0]); err != nil {
			return err
		}
		if parts = parts[1:]; len(parts) == 0 {
			return s.readDateTime(date, clock)
		}
	}
	switch {
	case len(parts) == 0:
		return errors.New("nothing is said")
	case len(parts) == 1 && strings.Contains(parts[0], ":"):
		clock = parts[0]
	case len(parts) == 1:
		date = parts[0]
	case len(parts) == 2:
		date, clock = parts[0], parts[1]
	default:
		return fmt.Errorf("%q is too much", parts[2])
	}
	return s.readDateTime(date, clock)
}

func (s *Schedule) readDateTime(date, clock string) error {
	d := strings.Split(date, "-")
	if len(d) == 2 {
		d = append([]string{"*"}, d...)
	}
	if len(d) != 3 {
		return fmt.Errorf("%q is no date: write it as *-*-01", date)
	}
	c := strings.Split(clock, ":")
	if len(c) == 2 {
		c = append(c, "00")
	}
	if len(c) != 3 {
		return fmt.Errorf("%q is no time of day: write it as 04:00", clock)
	}
	for _, f := range []struct {
		field    *field
		text     string
		what     string
		min, max int
	}{
		{&s.year, d[0], "year", firstYear, lastYear}, {&s.month, d[1], "month", 1, 12}, {&s.day, d[2], "day", 1, 31},
		{&s.hour, c[0], "hour", 0, 23}, {&s.minute, c[1], "minute", 0, 59}, {&s.second, c[2], "second", 0, 59},
	} {
		var err error
		if *f.field, err = parseField(f.text, f.min, f.max); err != nil {
			return fmt.Errorf("the %s %q: %w", f.what, f.text, err)
		}
	}
	return nil
}

// The years that are looked at.
const (
	firstYear = 1970
	lastYear  = 2199
)

// Never reports that nothing is ever due.
func (s Schedule) Never() bool { return s.every == 0 && !s.some }

// Next is the first time after a time that is due, in its zone or the schedule's own; zero when there is none.
func (s Schedule) Next(after time.Time) time.Time {
	if s.every > 0 {
		return after.Add(s.every)
	}
	if !s.some {
		return time.Time{}
	}
	if s.zone != nil {
		after = after.In(s.zone)
	}
	zone := after.Location()
	day := time.Date(after.Year(), after.Month(), after.Day(), 0, 0, 0, 0, zone)
	for day.Year() <= lastYear {
		switch {
		case !s.year.has(day.Year()):
			day = time.Date(day.Year()+1, 1, 1, 0, 0, 0, 0, zone)
			continue
		case !s.month.has(int(day.Month())):
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, zone)
			continue
		case s.day.has(day.Day()) && s.weekdays.has((int(day.Weekday())+6)%7):
			if t, ok := s.on(day, after); ok {
				return t
			}
		}
		day = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, zone)
	}
	return time.Time{}
}

// on is the first time of a day that is due after a time. An hour that a day does not have, when clocks are put forward,
// has nothing due.
func (s Schedule) on(day, after time.Time) (time.Time, bool) {
	for h := range 24 {
		if !s.hour.has(h) {
			continue
		}
		if end := time.Date(day.Year(), day.Month(), day.Day(), h, 59, 59, 0, day.Location()); !end.After(after) {
			continue
		}
		for m := range 60 {
			if !s.minute.has(m) {
				continue
			}
			for sec := range 60 {
				if !s.second.has(sec) {
					continue
				}
				t := time.Date(day.Year(), day.Month(), day.Day(), h, m, sec, 0, day.Location())
				if t.Hour() == h && t.After(after) {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}
