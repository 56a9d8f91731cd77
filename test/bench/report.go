package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report prints one line a figure, as soon as it is known.
type report struct {
	w      io.Writer
	missed int
}

// figure is one line: value and floor are of the same unit.
type figure struct {
	name  string
	value float64
	unit  string
	floor float64 // 0: there is none
	goal  *goal   // nil: only for orientation
	note  string  // what differs from the usual
}

// goal is what a figure should be.
type goal struct {
	limit   float64
	ratio   bool // it is the ratio that has the limit, not the value
	atLeast bool // else at most
}

func (g *goal) met(f figure) bool {
	v := f.value
	if g.ratio {
		v /= f.floor
	}
	if g.atLeast {
		return v >= g.limit
	}
	return v <= g.limit
}

func (g *goal) String() string {
	s := "<= "
	if g.atLeast {
		s = ">= "
	}
	s += strconv.FormatFloat(g.limit, 'g', 4, 64)
	if g.ratio {
		s += " (ratio)"
	}
	return s
}

const columns = "%-32s %10s %-8s %10s %7s  %s\n"

func (r *report) header(machine string) {
	fmt.Fprintf(r.w, "# %s\n# ratio = value / floor, the floor is measured beside it: docs/benchmarks.md\n", machine)
	fmt.Fprintf(r.w, columns, "# name", "value", "unit", "floor", "ratio", "goal")
}

func (r *report) add(f figure) {
	floor, ratio := "-", "-"
	if f.floor > 0 {
		floor, ratio = trim(f.floor), fmt.Sprintf("%.2f", f.value/f.floor)
	}
	var verdict []string
	switch {
	case f.goal == nil:
	case f.goal.met(f):
		verdict = append(verdict, "ok "+f.goal.String())
	default:
		verdict = append(verdict, "MISSED goal "+f.goal.String())
		r.missed++
	}
	if f.note != "" {
		verdict = append(verdict, "# "+f.note)
	}
	line := fmt.Sprintf(columns, f.name, trim(f.value), f.unit, floor, ratio, strings.Join(verdict, " "))
	fmt.Fprintln(r.w, strings.TrimRight(line, " \n"))
}

// trim shows three significant digits, and all that stand before the point.
func trim(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// quantile is the q-quantile of some durations, in milliseconds.
func quantile(all []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return ms(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}

func median(all []time.Duration) float64 { return quantile(all, 0.5) }

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
