package calendar_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // a machine need not have time zones

	"gitlab.com/skerry/skerry/internal/calendar"
)

const layout = "Mon 2006-01-02 15:04:05"

// TestNext's times are those that `systemd-analyze calendar --base-time` names.
func TestNext(t *testing.T) {
	t.Parallel()
	base := time.Date(2026, 11, 26, 16, 20, 30, 0, time.UTC) // a Thursday
	for text, want := range map[string]string{
		"minutely":                    "Thu 2026-11-26 16:21:00",
		"hourly":                      "Thu 2026-11-26 17:00:00",
		"daily":                       "Fri 2026-11-27 00:00:00",
		"Weekly":                      "Mon 2026-11-30 00:00:00",
		"monthly":                     "Tue 2026-12-01 00:00:00",
		"quarterly":                   "Fri 2027-01-01 00:00:00",
		"semiannually":                "Fri 2027-01-01 00:00:00",
		"yearly":                      "Fri 2027-01-01 00:00:00",
		"*-*-* 04:00:00":              "Fri 2026-11-27 04:00:00",
		"*-*-* 16:20:30":              "Fri 2026-11-27 16:20:30",
		"*-*-* 16:20:31":              "Thu 2026-11-26 16:20:31",
		"Mon *-*-* 03:00":             "Mon 2026-11-30 03:00:00",
		"*:0/15":                      "Thu 2026-11-26 16:30:00",
		"*:00/2":                      "Thu 2026-11-26 16:22:00",
		"*-*-* *:*:00/20":             "Thu 2026-11-26 16:20:40",
		"04:00":                       "Fri 2026-11-27 04:00:00",
		"17":                          "",
		"Sat,Sun 12:00":               "Sat 2026-11-28 12:00:00",
		"Sat..Tue 12:00":              "Sat 2026-11-28 12:00:00",
		"fri":                         "Fri 2026-11-27 00:00:00",
		"Mon..Fri *-*-1..7 06,18:30":  "Tue 2026-12-01 06:30:00",
		"12-24":                       "Thu 2026-12-24 00:00:00",
		"2030-02-28":                  "Thu 2030-02-28 00:00:00",
		"*-02-29":                     "Tue 2028-02-29 00:00:00",
		"*-1/3-01 0:0":                "Fri 2027-01-01 00:00:00",
		"Mon *-02-29 00:00":           "Mon 2044-02-29 00:00:00",
		"*-*-* 04:00 UTC":             "Fri 2026-11-27 04:00:00",
		"daily UTC":                   "Fri 2026-11-27 00:00:00",
		"*-*-* 04:00 Europe/Prague":   "Fri 2026-11-27 04:00:00",
		"12h":                         "Fri 2026-11-27 04:20:30",
		"1h30m":                       "Thu 2026-11-26 17:50:30",
		" *-*-*   04:00 ":             "Fri 2026-11-27 04:00:00",
		"off":                         "never",
		"":                            "never",
		"10s":                         "",
		"-1h":                         "",
		"sometimes":                   "",
		"*-13-01":                     "",
		"*-*-* 24:00":                 "",
		"*-02-30":                     "",
		"2001-*-* 00:00 and on":       "",
		"*:0/0":                       "",
		"*-*-* 1..":                   "",
		"5..1:00":                     "",
		"Mon *-*-* 00:00 Moon/Crater": "",
		"*-*~1":                       "",
		"1:2:3:4":                     "",
		"Mon,Foo":                     "",
	} {
		s, err := calendar.Parse(text)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "OnCalendar") {
				t.Errorf("%q: %v, want an error that names the forms", text, err)
			}
			continue
		}
		got := "never"
		if err == nil && !s.Never() {
			got = s.Next(base).Format(layout)
		}
		if err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
}

// TestClocksPutForward: an hour that a day does not have has nothing due, and one that it has twice is due once or twice but
// never without end.
func TestClocksPutForward(t *testing.T) {
	t.Parallel()
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	s, err := calendar.Parse("*-*-* 02:30")
	if err != nil {
		t.Fatal(err)
	}
	next := s.Next(time.Date(2026, 3, 28, 12, 0, 0, 0, prague)) // the clocks are put forward on the 29th
	if got := next.Format(layout); got != "Mon 2026-03-30 02:30:00" {
		t.Error(got)
	}
	at := time.Date(2026, 10, 24, 12, 0, 0, 0, prague)
	for range 4 {
		next := s.Next(at)
		if !next.After(at) {
			t.Fatalf("%s comes after %s", next, at)
		}
		at = next
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"daily", "Mon..Fri *-*-* 04:00:00", "*:0/15", "12h", "Sat,Sun 2030-01,02-1..7 *:*:* UTC", "off"} {
		f.Add(text)
	}
	base := time.Date(2026, 11, 26, 16, 20, 30, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := calendar.Parse(text)
		if err != nil || s.Never() {
			return
		}
		at := base
		for range 3 {
			next := s.Next(at)
			if next.IsZero() {
				return // it was, and does not come again
			}
			if !next.After(at) {
				t.Fatalf("%q: %s comes after %s", text, next, at)
			}
			at = next
		}
	})
}
