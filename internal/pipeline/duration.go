package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	day   = 24 * time.Hour
	week  = 7 * day
	month = 30 * day
	year  = 365*day + day/4
)

// unit returns how long the unit of that name is, by GitLab's parser (ChronicDuration); 0 for none.
func unit(name string) time.Duration {
	switch name {
	case "", "s", "sec", "secs", "second", "seconds":
		return time.Second
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour
	case "d", "day", "days":
		return day
	case "w", "wk", "wks", "week", "weeks":
		return week
	case "mo", "mos", "mth", "mths", "month", "months":
		return month
	case "y", "yr", "yrs", "year", "years":
		return year
	}
	return 0
}

// ParseDuration reads a duration as GitLab writes them: "1h 30m", "90 minutes", "3 days and 4 hours", "3600".
func ParseDuration(s string) (time.Duration, error) {
	rest := strings.ToLower(strings.TrimSpace(s))
	var total time.Duration
	for any := false; ; any = true {
		rest = strings.TrimLeft(rest, " ,")
		rest = strings.TrimLeft(strings.TrimPrefix(rest, "and "), " ")
		if rest == "" {
			if !any {
				return 0, fmt.Errorf("duration %q is empty; write for example 1h 30m", s)
			}
			return total, nil
		}
		number, after := cut(rest, func(r rune) bool { return unicode.IsDigit(r) || r == '.' })
		name, after := cut(strings.TrimLeft(after, " "), unicode.IsLetter)
		rest = after
		value, err := strconv.ParseFloat(number, 64)
		size := unit(name)
		if err != nil || size == 0 {
			return 0, fmt.Errorf("duration %q cannot be read; write for example 1h 30m", s)
		}
		if part := value * float64(size); part < float64(100*year-total) {
			total += time.Duration(part)
			continue
		}
		return 0, fmt.Errorf("duration %q is longer than any job", s)
	}
}

// cut splits s behind the first runes for which is holds.
func cut(s string, is func(rune) bool) (head, tail string) {
	i := strings.IndexFunc(s, func(r rune) bool { return !is(r) })
	if i < 0 {
		i = len(s)
	}
	return s[:i], s[i:]
}
