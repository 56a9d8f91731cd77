package calendar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// field says which numbers are meant. The zero value is all.
type field struct{ ranges []span }

// span is from, from+step and so on up to to.
type span struct{ from, to, step int }

func (f field) has(n int) bool {
	for _, s := range f.ranges {
		if n >= s.from && n <= s.to && (n-s.from)%s.step == 0 {
			return true
		}
	}
	return len(f.ranges) == 0
}

// parseField reads a list of numbers, ranges ("1..5") and repetitions ("0/15").
func parseField(text string, low, high int) (f field, err error) {
	for item := range strings.SplitSeq(text, ",") {
		from, repeat, repeated := strings.Cut(item, "/")
		from, to, ranged := strings.Cut(from, "..")
		s := span{from: low, to: high, step: 1}
		if from != "*" || ranged {
			if s.from, err = number(from, low, high); err != nil {
				return f, err
			}
			if !repeated {
				s.to = s.from
			}
		}
		if ranged {
			if s.to, err = number(to, low, high); err != nil {
				return f, err
			}
			if s.to < s.from {
				return f, fmt.Errorf("%s comes after %s", from, to)
			}
		}
		if repeated {
			if s.step, err = number(repeat, 1, high); err != nil {
				return f, fmt.Errorf("the step after /: %w", err)
			}
		}
		f.ranges = append(f.ranges, s)
	}
	return f, nil
}

func number(text string, low, high int) (int, error) {
	if text == "" || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return 0, errors.New("it must be a number, * or a list or range of numbers")
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, err
	}
	if n < low || n > high {
		return 0, fmt.Errorf("it must be from %d to %d", low, high)
	}
	return n, nil
}

// parseWeekdays reads a list of days and ranges of days of the week.
func parseWeekdays(text string) (f field, err error) {
	for item := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
		from, to, ranged := strings.Cut(item, "..")
		if !ranged {
			from, to, ranged = strings.Cut(item, "-")
		}
		var s span
		if s.from, err = weekday(from); err != nil {
			return f, err
		}
		s.to, s.step = s.from, 1
		if ranged {
			if s.to, err = weekday(to); err != nil {
				return f, err
			}
		}
		if s.to < s.from { // over Sunday
			f.ranges = append(f.ranges, span{from: 0, to: s.to, step: 1})
			s.to = 6
		}
		f.ranges = append(f.ranges, s)
	}
	return f, nil
}

func weekday(text string) (int, error) {
	for i, name := range []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"} {
		if text == name || text == name[:3] {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is no day of the week", text)
}
