package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "gitlab.com/skerry/skerry/"

func itoa(n int) string { return fmt.Sprintf("%04d", n) }

// pkg is one package of the repository, by its path below the module.
type pkg struct {
	name    string
	comment string
	imports []string // of the module, without those of tests; paths below the module
}

// packages reads every package's non-test files. Build constraints are ignored: all files count.
func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	all := map[string]*pkg{}
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && file != root && (skipped(e.Name()) || e.Name() == "tools"):
			return fs.SkipDir
		case filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		if all[dir] == nil {
			all[dir] = &pkg{name: dir}
		}
		return all[dir].add(file)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// add takes over what a file says of its package.
func (p *pkg) add(file string) error {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	if f.Doc != nil {
		p.comment += f.Doc.Text()
	}
	for _, i := range f.Imports {
		if rest, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module); ok && !slices.Contains(p.imports, rest) {
			p.imports = append(p.imports, rest)
		}
	}
	slices.Sort(p.imports)
	return nil
}

// reach lists all that the package from imports, directly or through others, with the way there.
func reach(all map[string]*pkg, from string) map[string]string {
	ways := map[string]string{}
	var visit func(name, way string)
	visit = func(name, way string) {
		if all[name] == nil {
			return
		}
		for _, i := range all[name].imports {
			if _, seen := ways[i]; !seen {
				ways[i] = way + " → " + i
				visit(i, ways[i])
			}
		}
	}
	visit(from, from)
	return ways
}

// within reports whether name is tree or a package below it.
func within(name, tree string) bool { return name == tree || strings.HasPrefix(name, tree+"/") }

// TestEveryPackageHasAComment is what makes `go doc` worth its name.
func TestEveryPackageHasAComment(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		words := strings.Fields(p.comment)
		if len(words) < 5 || strings.HasPrefix(p.name, "internal/") && !strings.HasPrefix(p.comment, "Package "+path.Base(p.name)+" ") {
			t.Errorf("%s needs a package comment that says what it is for", p.name)
		}
	}
}

// TestImportRules enforces docs/architecture.md's rules, through other packages too.
func TestImportRules(t *testing.T) {
	t.Parallel()
	rules := []struct {
		of    string   // this package and those below it
		never []string // never import these and those below them
		but   []string // exceptions of never
		why   string
	}{
		{of: "internal/job", never: []string{"internal"}, why: "the domain depends on nothing"},
		{of: "internal/executor", never: []string{"internal/engine", "internal/gitlab", "internal/config", "internal/cli"},
			why: "an executor only provides places; cli maps the configuration onto its Options"},
		{of: "internal/engine", never: []string{"internal/executor", "internal/config", "internal/cli", "internal/poll"},
			but: []string{"internal/executor"}, why: "the engine knows executors by their contract, and an adopted job reads no configuration"},
		{of: "internal/stage", never: []string{"internal/gitlab", "internal/config", "internal/executor", "internal/agent", "internal/engine"},
			why: "stages know neither GitLab nor who runs them"},
		{of: "internal/agent", never: []string{"internal/gitlab", "internal/config", "internal/executor", "internal/engine"},
			why: "the agent is driven over the wire alone"},
		{of: "internal/nixstore/nixd", never: []string{"internal/gitlab", "internal/config", "internal/executor", "internal/engine"},
			why: "it is part of the agent's program"},
		{of: "internal/trace", never: []string{"internal/gitlab", "internal/config", "internal/executor", "internal/engine"},
			why: "a log is a function of outline and spools"},
		{of: "internal/web", never: []string{"internal"}, but: []string{"internal/web", "internal/status", "internal/job"}, why: "the dashboard sees the read model only"},
		{of: "cmd/skerry-agent", never: []string{"internal/cli", "internal/gitlab", "internal/config", "internal/engine", "internal/journal"}, why: "the agent is small"},
	}
	all := packages(t)
	for _, r := range rules {
		for name := range all {
			if !within(name, r.of) {
				continue
			}
			for found, way := range reach(all, name) {
				forbidden := slices.ContainsFunc(r.never, func(n string) bool { return within(found, n) })
				allowed := slices.Contains(r.but, found) || within(found, r.of) && r.of != "internal/engine"
				if forbidden && !allowed {
					t.Errorf("%s: %s", way, r.why)
				}
			}
		}
	}
}

// TestOnlyTheCommandLineWires wants the parts to be put together in one place.
func TestOnlyTheCommandLineWires(t *testing.T) {
	t.Parallel()
	wired := []string{"internal/config", "internal/engine", "internal/poll", "internal/executor/shell", "internal/executor/container", "internal/executor/kubernetes"}
	for _, p := range packages(t) {
		for _, i := range p.imports {
			for _, w := range wired {
				if within(i, w) && !within(p.name, w) && !within(p.name, "internal/cli") {
					t.Errorf("%s imports %s: only internal/cli puts the parts together", p.name, i)
				}
			}
		}
		if slices.Contains(p.imports, "internal/cli") && !within(p.name, "cmd/skerry") && !within(p.name, "internal/cli") {
			t.Errorf("%s imports internal/cli: only cmd/skerry does", p.name)
		}
	}
}

// TestMainsAreShort wants commands to be packages that can be tested.
func TestMainsAreShort(t *testing.T) {
	t.Parallel()
	for name := range packages(t) {
		if !strings.HasPrefix(name, "cmd/") {
			continue
		}
		if n := strings.Count(read(t, name+"/main.go"), "\n"); n > 30 {
			t.Errorf("%s/main.go has %d lines: move all but the call into a package", name, n)
		}
	}
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// spans lists the texts in code style.
func spans(text string) []string {
	var list []string
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// table reads the rows of the table after a marker comment; the header is left out.
func table(t *testing.T, page, marker string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "<!-- "+marker+" -->\n")
	if !ok {
		t.Fatalf("there is no table marked <!-- %s -->", marker)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if line == "" && rows == nil {
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), " | ") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("the table marked <!-- %s --> is empty", marker)
	}
	return rows[2:]
}

// TestArchitectureNamesThePackages compares the table of packages with the packages: each has its row,
// and imports no package of the project that its row does not name.
func TestArchitectureNamesThePackages(t *testing.T) {
	t.Parallel()
	all := packages(t)
	listed := map[string]bool{}
	for _, row := range table(t, read(t, "docs/architecture.md"), "packages") {
		names := spans(row[0])
		if len(row) != 3 || len(names) != 1 {
			t.Errorf("docs/architecture.md: a row of the packages' table is not of the form | `package` | what | imports |: %q", row)
			continue
		}
		name := full(names[0])
		listed[name] = true
		p := all[name]
		if p == nil {
			t.Errorf("docs/architecture.md lists %s, which does not exist", name)
			continue
		}
		var may []string
		for _, s := range spans(row[2]) {
			may = append(may, full(s))
			if all[full(s)] == nil {
				t.Errorf("docs/architecture.md: %s may import %s, which does not exist", name, s)
			}
		}
		for _, i := range p.imports {
			if !slices.Contains(may, i) {
				t.Errorf("%s imports %s: docs/architecture.md does not allow it; is it in keeping with the import rules?", name, i)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !listed[name] {
			t.Errorf("docs/architecture.md has no row for %s", name)
		}
	}
}

// full is a package's path below the module; the table leaves internal/ out.
func full(name string) string {
	if strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "test/") {
		return name
	}
	return "internal/" + name
}

// selectors lists every a.B and a.B.C of a directory's non-test files as "B" and "B.C".
func selectors(t *testing.T, dirs ...string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	var files []string
	for _, dir := range dirs {
		in, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(in) == 0 {
			t.Fatalf("%s: no Go files: %v", dir, err)
		}
		files = append(files, in...)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			found[s.Sel.Name] = true
			if inner, ok := s.X.(*ast.SelectorExpr); ok {
				found[inner.Sel.Name+"."+s.Sel.Name] = true
			}
			return true
		})
	}
	return found
}

// sourceText is all non-test Go source of the program with split string literals joined.
func sourceText(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(root, p.name, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if rel, err := filepath.Rel(root, file); err == nil && !strings.HasSuffix(file, "_test.go") {
				b.WriteString(read(t, rel))
			}
		}
	}
	return regexp.MustCompile("\"\\s*\\+\\s*\"").ReplaceAllString(b.String(), "")
}
