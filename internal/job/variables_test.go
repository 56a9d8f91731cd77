package job_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/job"
)

func inTmp(key string) string { return "/tmp/job/" + key }

func TestVariablesLookup(t *testing.T) {
	t.Parallel()
	vars := job.Variables{
		{Key: "A", Value: "first"},
		{Key: "F", Value: "content", File: true},
		{Key: "A", Value: "second", Masked: true},
	}
	if got, ok := vars.Lookup("A"); !ok || got.Value != "second" || !got.Masked {
		t.Errorf("Lookup(A) = %+v, %v; want the second one", got, ok)
	}
	if got, ok := vars.First("A"); !ok || got.Value != "first" {
		t.Errorf("First(A) = %+v, %v; want the first one", got, ok)
	}
	if got, ok := vars.Lookup("a"); ok {
		t.Errorf("Lookup(a) = %+v; keys differ in case", got)
	}
	if got, ok := vars.First("none"); ok {
		t.Errorf("First(none) = %+v", got)
	}
	for _, tc := range []struct {
		key  string
		path job.FilePath
		want string
	}{
		{"A", inTmp, "second"},
		{"F", inTmp, "/tmp/job/F"},
		{"F", nil, "content"},
		{"none", inTmp, ""},
	} {
		if got := vars.Get(tc.key, tc.path); got != tc.want {
			t.Errorf("Get(%q) = %q, want %q", tc.key, got, tc.want)
		}
	}
	if got := vars.Value("F"); got != "content" {
		t.Errorf("Value(F) = %q, want the content", got)
	}
}

func TestVariablesBool(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"true": true, "TRUE": true, "tRuE": true, "t": true, "1": true, "01": true, "+1": true,
		"false": false, "False": false, "0": false, "-1": false, "2": false, "100": false,
		"": false, "yes": false, "on": false, " true": false, "1.0": false,
	} {
		if got := (job.Variables{{Key: "K", Value: value}}).Bool("K"); got != want {
			t.Errorf("Bool of %q = %v, want %v", value, got, want)
		}
	}
	if (job.Variables{}).Bool("K") {
		t.Error("Bool of an absent key is true")
	}
}

func TestVariablesInt(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{
		"3": 3, "-3": -3, " 4 ": 4, "0": 0,
		"": 7, "x": 7, "1.5": 7, "99999999999999999999": 7,
	} {
		if got := (job.Variables{{Key: "K", Value: value}}).Int("K", 7); got != want {
			t.Errorf("Int of %q = %d, want %d", value, got, want)
		}
	}
	if got := (job.Variables{}).Int("K", 7); got != 7 {
		t.Errorf("Int of an absent key = %d, want the fallback", got)
	}
}

func TestVariablesExpandString(t *testing.T) {
	t.Parallel()
	vars := job.Variables{
		{Key: "NAME", Value: "old"},
		{Key: "NAME", Value: "value"},
		{Key: "REF", Value: "$NAME"},
		{Key: "FILE", Value: "content", File: true},
		{Key: "1", Value: "positional"},
		{Key: "EMPTY"},
	}
	for in, want := range map[string]string{
		"":                      "",
		"plain":                 "plain",
		"$NAME":                 "value",
		"${NAME}":               "value",
		"a${NAME}b":             "avalueb",
		"$NAMEx":                "",
		"$NAME-x":               "value-x",
		"$NAME$NAME":            "valuevalue",
		"$UNKNOWN":              "",
		"a${UNKNOWN}b":          "ab",
		"$EMPTY.":               ".",
		"$$":                    "$",
		"$$NAME":                "$NAME",
		"$$$NAME":               "$value",
		"${$}":                  "$",
		"$/path":                "$/path",
		"cost: 5$":              "cost: 5$",
		"$1":                    "",
		"$@ $? $# $* $!":        "    ",
		"${1}":                  "",
		"$REF":                  "$NAME",
		"$FILE":                 "/tmp/job/FILE",
		"${FILE}.bak":           "/tmp/job/FILE.bak",
		"%NAME%":                "%NAME%",
		"$ü":                    "$ü",
		"${NAME:-x}":            "",
		"line\n$NAME\nother":    "line\nvalue\nother",
		"$NAME/$UNKNOWN/${REF}": "value//$NAME",
	} {
		if got := vars.ExpandString(in, inTmp); got != want {
			t.Errorf("ExpandString(%q) = %q, want %q", in, got, want)
		}
	}
	if got := vars.ExpandString("$FILE", nil); got != "content" {
		t.Errorf("without paths $FILE = %q, want the content", got)
	}
}

func TestVariablesExpandStrings(t *testing.T) {
	t.Parallel()
	vars := job.Variables{{Key: "A", Value: "x"}}
	if got := vars.ExpandStrings(nil, nil); got != nil {
		t.Errorf("ExpandStrings(nil) = %q", got)
	}
	in := []string{"$A", "b", "${A}$A"}
	if diff := cmp.Diff([]string{"x", "b", "xx"}, vars.ExpandStrings(in, nil)); diff != "" {
		t.Error(diff)
	}
	if in[0] != "$A" {
		t.Error("ExpandStrings changed its argument")
	}
}

func TestVariablesExpand(t *testing.T) {
	t.Parallel()
	vars := job.Variables{
		{Key: "A", Value: "a-$B", Masked: true},
		{Key: "B", Value: "b-$C"},
		{Key: "C", Value: "c"},
		{Key: "RAW", Value: "$C ${C} $$", Raw: true},
		{Key: "REFRAW", Value: "<$RAW>"},
		{Key: "FILE", Value: "in $C", File: true},
		{Key: "REFFILE", Value: "${FILE}.txt"},
		{Key: "SELF", Value: "$SELF:x"},
		{Key: "MONEY", Value: "$$5"},
		{Key: "C", Value: "c2-$NONE"},
	}
	before := append(job.Variables(nil), vars...)
	want := job.Variables{
		{Key: "A", Value: "a-b-$C", Masked: true}, // one pass
		{Key: "B", Value: "b-c2-$NONE"},           // the last C, unexpanded
		{Key: "C", Value: "c"},
		{Key: "RAW", Value: "$C ${C} $$", Raw: true},
		{Key: "REFRAW", Value: "<$C ${C} $$>"},
		{Key: "FILE", Value: "in c2-$NONE", File: true},
		{Key: "REFFILE", Value: "/tmp/job/FILE.txt"},
		{Key: "SELF", Value: "$SELF:x:x"},
		{Key: "MONEY", Value: "$5"},
		{Key: "C", Value: "c2-"},
	}
	if diff := cmp.Diff(want, vars.Expand(inTmp)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, vars); diff != "" {
		t.Errorf("Expand changed its receiver:\n%s", diff)
	}
}

func TestVariablesExpandWith(t *testing.T) {
	t.Parallel()
	source := job.Variables{{Key: "PUBLIC", Value: "p", Public: true}, {Key: "PRIVATE", Value: "secret"}}
	own := job.Variables{
		{Key: "A", Value: "$PUBLIC-$PRIVATE"},
		{Key: "B", Value: "$A"},
		{Key: "C", Value: "$PRIVATE", Raw: true},
	}
	want := job.Variables{
		{Key: "A", Value: "p-secret"},
		{Key: "B"},
		{Key: "C", Value: "$PRIVATE", Raw: true},
	}
	if diff := cmp.Diff(want, own.ExpandWith(source, nil)); diff != "" {
		t.Error(diff)
	}
}

func TestVariablesMerge(t *testing.T) {
	t.Parallel()
	base := make(job.Variables, 0, 8)
	base = append(base, job.Variable{Key: "A", Value: "1"})
	first := job.Merge(base, job.Variables{{Key: "A", Value: "2"}})
	second := job.Merge(base, job.Variables{{Key: "A", Value: "3"}})
	if first.Value("A") != "2" || second.Value("A") != "3" || base.Value("A") != "1" {
		t.Errorf("layers share memory: %v %v %v", base, first, second)
	}
	if got := job.Merge(); len(got) != 0 {
		t.Errorf("Merge() = %v", got)
	}
}

func TestVariablesSetAndDedup(t *testing.T) {
	t.Parallel()
	vars := job.Variables{{Key: "A", Value: "1"}, {Key: "B", Value: "2"}, {Key: "A", Value: "3"}, {Key: "C", Value: "4"}}
	for _, tc := range []struct {
		name string
		got  job.Variables
		want job.Variables
	}{
		{"dedup keeps the last and the order", vars.Dedup(),
			job.Variables{{Key: "B", Value: "2"}, {Key: "A", Value: "3"}, {Key: "C", Value: "4"}}},
		{"dedup of nothing", job.Variables(nil).Dedup(), job.Variables{}},
		{"set replaces all of a key", vars.Set(job.Variable{Key: "A", Value: "9"}),
			job.Variables{{Key: "B", Value: "2"}, {Key: "C", Value: "4"}, {Key: "A", Value: "9"}}},
		{"set takes the last of its arguments",
			vars.Set(job.Variable{Key: "D", Value: "x"}, job.Variable{Key: "B", Value: "y"}, job.Variable{Key: "D", Value: "z"}),
			job.Variables{{Key: "A", Value: "1"}, {Key: "A", Value: "3"}, {Key: "C", Value: "4"}, {Key: "B", Value: "y"}, {Key: "D", Value: "z"}}},
		{"set of nothing", vars.Set(), vars},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s:\n%s", tc.name, diff)
		}
	}
	if vars[0].Value != "1" || len(vars) != 4 {
		t.Errorf("the receiver was changed: %v", vars)
	}
}

func TestVariablesMaskedAndPublic(t *testing.T) {
	t.Parallel()
	vars := job.Variables{
		{Key: "A", Value: "secret1", Masked: true},
		{Key: "B", Value: "open", Public: true},
		{Key: "A", Value: "secret2", Masked: true},
		{Key: "C", Value: "secret1", Masked: true, Public: true},
		{Key: "D", Value: "", Masked: true},
	}
	if diff := cmp.Diff([]string{"secret1", "secret2"}, vars.Masked()); diff != "" {
		t.Errorf("Masked:\n%s", diff)
	}
	want := job.Variables{{Key: "B", Value: "open", Public: true}, {Key: "C", Value: "secret1", Masked: true, Public: true}}
	if diff := cmp.Diff(want, vars.Public()); diff != "" {
		t.Errorf("Public:\n%s", diff)
	}
}

func TestWhenApplies(t *testing.T) {
	t.Parallel()
	for when, want := range map[job.When][2]bool{
		"": {true, false}, job.OnSuccess: {true, false}, job.OnFailure: {false, true}, job.Always: {true, true},
	} {
		if got := [2]bool{when.Applies(true), when.Applies(false)}; got != want {
			t.Errorf("When %q applies to (success, failure) = %v, want %v", when, got, want)
		}
	}
}

func TestReasonReported(t *testing.T) {
	t.Parallel()
	known := []string{"image_pull_failure"}
	for reason, want := range map[job.Reason]job.Reason{
		job.ReasonNone:      job.ReasonNone,
		job.ReasonScript:    job.ReasonScript,
		job.ReasonTimeout:   job.ReasonTimeout,
		job.ReasonSystem:    job.ReasonSystem,
		job.ReasonImagePull: job.ReasonImagePull,
		job.ReasonExternal:  job.ReasonSystem,
	} {
		if got := reason.Reported(known); got != want {
			t.Errorf("%q is reported as %q, want %q", reason, got, want)
		}
	}
}
