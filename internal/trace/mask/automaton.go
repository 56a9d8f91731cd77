package mask

// automaton finds patterns in a stream (Aho and Corasick's way). Its nodes are kept small, because
// a job may have long secrets and a runner many jobs; text that begins no pattern is skipped by a
// gate and never touches them.
type automaton struct {
	patterns []string
	nodes    []node
	root     [256]int32
	dense    [][256]int32 // the children of nodes that have many
	gate     *gate
}

// node is the beginning of one or several patterns; node 0 is the empty one.
type node struct {
	fail    int32 // the longest proper suffix that begins a pattern
	child   int32 // the first child; 0 none
	sibling int32 // the next child of the same parent; 0 none
	pattern int32 // a pattern that begins with this node's text
	depth   int32 // length of this node's text
	out     int32 // length of the longest pattern that ends this node's text; 0 none
	dense   int32 // 1 + index of its children in dense; 0 none
	label   byte  // the last byte of this node's text
}

// crowd is how many children are too many to look through one by one.
const crowd = 4

// newAutomaton returns nil when there are no patterns. Patterns must be sorted and not empty.
func newAutomaton(patterns []string) *automaton {
	if len(patterns) == 0 {
		return nil
	}
	a := &automaton{patterns: patterns, nodes: make([]node, 1), gate: newGate(patterns, nil)}
	for i, p := range patterns {
		a.insert(int32(i), p) //nolint:gosec // the number of secrets of a job
	}
	a.spread()
	a.link()
	return a
}

func (a *automaton) insert(index int32, pattern string) {
	at := int32(0)
	for i := range len(pattern) {
		// Patterns are sorted: a child that is there already is the newest, which is the first.
		next := a.nodes[at].child
		if next == 0 || a.nodes[next].label != pattern[i] {
			next = int32(len(a.nodes)) //nolint:gosec // bounded by the payload's size
			a.nodes = append(a.nodes, node{
				label: pattern[i], pattern: index, depth: int32(i) + 1, sibling: a.nodes[at].child, //nolint:gosec // likewise
			})
			a.nodes[at].child = next
			if at == 0 {
				a.root[pattern[i]] = next
			}
		}
		at = next
	}
	a.nodes[at].out = int32(len(pattern)) //nolint:gosec // likewise
}

// spread makes tables for nodes with many children.
func (a *automaton) spread() {
	for at := range a.nodes {
		n := 0
		for c := a.nodes[at].child; c != 0; c = a.nodes[c].sibling {
			n++
		}
		if at == 0 || n <= crowd {
			continue
		}
		var table [256]int32
		for c := a.nodes[at].child; c != 0; c = a.nodes[c].sibling {
			table[a.nodes[c].label] = c
		}
		a.dense = append(a.dense, table)
		a.nodes[at].dense = int32(len(a.dense)) //nolint:gosec // fewer than nodes
	}
}

// link sets fail and out in the order of depth.
func (a *automaton) link() {
	order := make([]int32, 0, len(a.nodes))
	for c := a.nodes[0].child; c != 0; c = a.nodes[c].sibling {
		order = append(order, c)
	}
	for i := 0; i < len(order); i++ {
		at := order[i]
		n := &a.nodes[at]
		if n.out == 0 {
			n.out = a.nodes[n.fail].out
		}
		for c := n.child; c != 0; c = a.nodes[c].sibling {
			a.nodes[c].fail = a.step(n.fail, a.nodes[c].label)
			order = append(order, c)
		}
	}
}

func (a *automaton) childOf(at int32, b byte) int32 {
	if at == 0 {
		return a.root[b]
	}
	if d := a.nodes[at].dense; d != 0 {
		return a.dense[d-1][b]
	}
	c := a.nodes[at].child
	for c != 0 && a.nodes[c].label != b {
		c = a.nodes[c].sibling
	}
	return c
}

// step returns the node of the longest suffix of (at's text and b) that begins a pattern.
func (a *automaton) step(at int32, b byte) int32 {
	for at != 0 {
		if c := a.childOf(at, b); c != 0 {
			return c
		}
		at = a.nodes[at].fail
	}
	return a.root[b]
}

// open returns the node of at's longest suffix, at's text itself included, that may still grow into a
// pattern.
func (a *automaton) open(at int32) int32 {
	for at != 0 && a.nodes[at].child == 0 {
		at = a.nodes[at].fail
	}
	return at
}

// text is the text of a node: what has been seen of a pattern.
func (a *automaton) text(at int32) string {
	n := &a.nodes[at]
	return a.patterns[n.pattern][:n.depth]
}
