package fault

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Syntax says how Parse reads a fault.
const Syntax = `ENDPOINT[:WHAT,…], for example trace:status=429,retry-after=2,count=3, update:state=final,status=412,lose, ` +
	`request:handle,cut, trace:wait=10m,cut, download:slow=1000 or trace:skip=2,then=cancel`

// Parse reads a fault from text: an endpoint's name ("any" for all of them), then a colon and what happens, separated
// by commas. Words: state=STATE skip=N count=N (negative: always) select requests; handle (let the server handle it
// first) wait=DURATION cut status=CODE retry-after=SECONDS body=TEXT lose truncate=BYTES slow=BYTES partial=BYTES say
// what happens to them. then=ACTION is returned as it is; the actions are the caller's.
func Parse(text string, endpoints, actions []string) (f Fault, action string, err error) {
	name, rest, _ := strings.Cut(text, ":")
	fail := func(format string, args ...any) error {
		return fmt.Errorf("fault %q: %s; write %s", text, fmt.Sprintf(format, args...), Syntax)
	}
	if f.Endpoint = name; name == "any" {
		f.Endpoint = ""
	} else if !slices.Contains(endpoints, name) {
		return Fault{}, "", fail("there is no endpoint %q, but any, %s", name, strings.Join(endpoints, ", "))
	}
	if rest == "" {
		return Fault{}, "", fail("it says nothing of what is to happen")
	}
	for word := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(word, "=")
		if key == "then" {
			if !slices.Contains(actions, value) {
				return Fault{}, "", fail("then=%s is none of %s", value, strings.Join(actions, ", "))
			}
			action = value
			continue
		}
		if err := f.set(key, value); err != nil {
			return Fault{}, "", fail("%v", err)
		}
	}
	return f, action, nil
}

// set sets what one word says.
func (f *Fault) set(key, value string) (err error) {
	number := func() int64 {
		n, e := strconv.ParseInt(value, 10, 62)
		if e != nil {
			err = fmt.Errorf("%s=%q is no number", key, value)
		}
		return n
	}
	flag := func() bool {
		if value != "" {
			err = fmt.Errorf("%s takes no value", key)
		}
		return true
	}
	switch key {
	case "state":
		f.State = value
	case "skip":
		f.Skip = int(number())
	case "count":
		f.Count = int(number())
	case "handle":
		f.Handle = flag()
	case "cut":
		f.Cut = flag()
	case "lose":
		f.Lose = flag()
	case "truncate":
		f.Lose, f.Truncate = true, number()
	case "slow":
		f.Slow = int(number())
	case "partial":
		f.Partial = number()
	case "body":
		f.Body = value
	default:
		return f.setAnswer(key, value)
	}
	return err
}

// setAnswer goes on with what the answer is.
func (f *Fault) setAnswer(key, value string) error {
	switch key {
	case "wait":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return fmt.Errorf("wait=%q is no duration such as 90s or 10m", value)
		}
		f.Wait = d
	case "status":
		n, err := strconv.Atoi(value)
		if err != nil || n < 200 || n > 599 {
			return fmt.Errorf("status=%q is no status from 200 to 599", value)
		}
		f.Status = n
	case "retry-after":
		if n, err := strconv.Atoi(value); err != nil || n < 0 {
			return fmt.Errorf("retry-after=%q is no number of seconds", value)
		}
		f.Header = http.Header{"Retry-After": {value}}
	default:
		return fmt.Errorf("%q is not known", key)
	}
	return nil
}
