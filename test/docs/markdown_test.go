package docs

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// root is the repository, seen from the directory that tests run in.
const root = "../.."

// readmeLines is how long README.md may be.
const readmeLines = 120

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// skipped reports whether a directory holds nothing that this repository wrote.
func skipped(name string) bool {
	return name == ".git" || name == "bin" || name == "testdata" || name == "node_modules"
}

// pages lists the repository's Markdown files, by paths relative to root.
func pages(t *testing.T) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != root && skipped(e.Name()):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			rel, err := filepath.Rel(root, path)
			list = append(list, rel)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var (
	fencePattern = regexp.MustCompile("(?ms)^ *```.*?^ *```[ \t]*$")
	linkPattern  = regexp.MustCompile(`\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)`)
	codeName     = regexp.MustCompile("^`([A-Za-z_][A-Za-z0-9_]*)(?:\\.([A-Za-z_][A-Za-z0-9_]*))?`$")
)

// link is one link of a page.
type link struct{ text, target string }

// links lists the links of a page's prose, not those in its code blocks.
func links(page string) []link {
	var list []link
	for _, m := range linkPattern.FindAllStringSubmatch(fencePattern.ReplaceAllString(page, ""), -1) {
		list = append(list, link{text: m[1], target: m[2]})
	}
	return list
}

// anchors lists the fragments that a page's headings can be reached by, made as GitLab and GitHub do.
func anchors(page string) []string {
	var list []string
	for line := range strings.Lines(fencePattern.ReplaceAllString(page, "")) {
		title := strings.TrimLeft(line, "#")
		if level := len(line) - len(title); level == 0 || level > 6 || !strings.HasPrefix(title, " ") {
			continue
		}
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, strings.TrimSpace(title)))
	}
	return list
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			for _, l := range links(read(t, page)) {
				follow(t, page, l)
			}
		})
	}
}

// follow checks one link. A link to a Go file whose text is a name in code style, `Func` or
// `Type.Method`, also says that the file declares it.
func follow(t *testing.T, page string, l link) {
	t.Helper()
	u, err := url.Parse(l.target)
	if err != nil {
		t.Errorf("%s: [%s](%s) is no address: %v", page, l.text, l.target, err)
		return
	}
	if u.Scheme != "" {
		return // other sites may be down while these tests run
	}
	target := page
	if u.Path != "" {
		target = filepath.Join(filepath.Dir(page), filepath.FromSlash(u.Path))
	}
	if target == ".." || strings.HasPrefix(target, "../") {
		t.Errorf("%s: [%s](%s) leads out of the repository", page, l.text, l.target)
		return
	}
	info, err := os.Stat(filepath.Join(root, target))
	if err != nil {
		t.Errorf("%s: [%s](%s) leads nowhere: mend the link, or move what it named back", page, l.text, l.target)
		return
	}
	switch {
	case u.Fragment != "" && !info.IsDir() && filepath.Ext(target) == ".md":
		if !slices.Contains(anchors(read(t, target)), u.Fragment) {
			t.Errorf("%s: [%s](%s): %s has no such heading", page, l.text, l.target, target)
		}
	case filepath.Ext(target) == ".go":
		if m := codeName.FindStringSubmatch(l.text); m != nil && !slices.Contains(declared(t, target), strings.Trim(l.text, "`")) {
			t.Errorf("%s: [%s](%s): the file does not declare that", page, l.text, l.target)
		}
	}
}

// declared lists what a Go file declares at its top: Name, and Type.Method for methods.
func declared(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, receiver(d)+d.Name.Name)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// receiver is "Type." for a method, else nothing.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if name, ok := typ.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	if n := strings.Count(read(t, "README.md"), "\n"); n > readmeLines {
		t.Errorf("README.md has %d lines, at most %d are wanted: move what is detail to docs/", n, readmeLines)
	}
}

// TestPagesAreReachable wants every page under docs/ to be named by another page.
func TestPagesAreReachable(t *testing.T) {
	t.Parallel()
	named := map[string]bool{}
	for _, page := range pages(t) {
		for _, l := range links(read(t, page)) {
			path, _, _ := strings.Cut(l.target, "#")
			if target := filepath.Join(filepath.Dir(page), path); target != page {
				named[target] = true
			}
		}
	}
	for _, page := range pages(t) {
		if strings.HasPrefix(page, "docs"+string(filepath.Separator)) && !named[page] {
			t.Errorf("no page links to %s", page)
		}
	}
}

// decision is what every record of a decision has, in this order.
var decision = []string{"# ", "\n- Status: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n"}

func TestDecisionsAreWholeAndNumbered(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(filepath.Join(root, "docs/adr"))
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	name := regexp.MustCompile(`^(\d{4})-[a-z0-9-]+\.md$`)
	for _, e := range entries {
		if e.Name() == "README.md" {
			continue
		}
		number++
		m := name.FindStringSubmatch(e.Name())
		if m == nil || strings.TrimLeft(m[1], "0") != strings.TrimLeft(itoa(number), "0") {
			t.Errorf("docs/adr/%s: the name must be NNNN-title.md, and the next number is %s", e.Name(), itoa(number))
			continue
		}
		text := []byte(read(t, "docs/adr/"+e.Name()))
		if !bytes.HasPrefix(text, []byte("# "+m[1]+": ")) {
			t.Errorf("docs/adr/%s must begin with \"# %s: title\"", e.Name(), m[1])
		}
		for _, part := range decision {
			_, rest, ok := bytes.Cut(text, []byte(part))
			if !ok {
				t.Errorf("docs/adr/%s lacks %q in its place", e.Name(), strings.TrimSpace(part))
				break
			}
			text = append([]byte("\n"), rest...)
		}
	}
	if number == 0 {
		t.Error("docs/adr holds no decision")
	}
}

// TestChangelogEntries wants the form that changelog/unreleased/README.md describes.
func TestChangelogEntries(t *testing.T) {
	t.Parallel()
	entries, err := filepath.Glob(filepath.Join(root, "changelog/unreleased/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`^(Security|Change|Enhancement|Bugfix): [A-Z0-9].*[^.\n]\n\n\S`)
	found := 0
	for _, path := range entries {
		if filepath.Base(path) == "README.md" {
			continue
		}
		found++
		rel := filepath.Join("changelog/unreleased", filepath.Base(path))
		if !first.MatchString(read(t, rel)) {
			t.Errorf("%s must begin with \"Kind: Title\" (Security, Change, Enhancement or Bugfix; no full stop), an empty line and a text", rel)
		}
	}
	if found == 0 {
		t.Error("changelog/unreleased holds no entry")
	}
}
