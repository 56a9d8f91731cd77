package nixwire

import "strconv"

// Op is the number of an operation, with which a request begins.
type Op uint64

// The operations.
const (
	IsValidPath                 Op = 1
	HasSubstitutes              Op = 3
	QueryPathHash               Op = 4
	QueryReferences             Op = 5
	QueryReferrers              Op = 6
	AddToStore                  Op = 7
	AddTextToStore              Op = 8
	BuildPaths                  Op = 9
	EnsurePath                  Op = 10
	AddTempRoot                 Op = 11
	AddIndirectRoot             Op = 12
	SyncWithGC                  Op = 13
	FindRoots                   Op = 14
	ExportPath                  Op = 16
	QueryDeriver                Op = 18
	SetOptions                  Op = 19
	CollectGarbage              Op = 20
	QuerySubstitutablePathInfo  Op = 21
	QueryDerivationOutputs      Op = 22
	QueryAllValidPaths          Op = 23
	QueryFailedPaths            Op = 24
	ClearFailedPaths            Op = 25
	QueryPathInfo               Op = 26
	ImportPaths                 Op = 27
	QueryDerivationOutputNames  Op = 28
	QueryPathFromHashPart       Op = 29
	QuerySubstitutablePathInfos Op = 30
	QueryValidPaths             Op = 31
	QuerySubstitutablePaths     Op = 32
	QueryValidDerivers          Op = 33
	OptimiseStore               Op = 34
	VerifyStore                 Op = 35
	BuildDerivation             Op = 36
	AddSignatures               Op = 37
	NarFromPath                 Op = 38
	AddToStoreNar               Op = 39
	QueryMissing                Op = 40
	QueryDerivationOutputMap    Op = 41
	RegisterDrvOutput           Op = 42
	QueryRealisation            Op = 43
	AddMultipleToStore          Op = 44
	AddBuildLog                 Op = 45
	BuildPathsWithResults       Op = 46
	AddPermRoot                 Op = 47
)

func (o Op) String() string {
	if i, ok := Lookup(o); ok {
		return i.Name
	}
	return "operation " + strconv.FormatUint(uint64(o), 10)
}

// Body is what follows a request beside its shape, or an answer.
type Body uint8

// The bodies.
const (
	NoBody      Body = iota
	Framed           // the request is followed by a framed stream
	ArchiveBody      // the answer is an archive
)

// Operation is what an operation looks like on the wire.
type Operation struct {
	Name    string
	Request Shape
	Answer  Shape // after STDERR_LAST
	Body    Body
}

// How long strings may be, and how many of them.
const (
	maxPathString = 1 << 10 // of what should be a store path
	maxDerived    = 4 << 10 // a path with outputs
	maxShort      = 1 << 10 // a name, a hash, a method
	maxLine       = 64 << 10
	maxText       = 32 << 20
	maxOutputs    = 1 << 10 // of a derivation
)

// Parts that many messages have.
func num() Field                      { return Field{Kind: Int} }
func str(limit int) Field             { return Field{Kind: Str, Max: limit} }
func path() Field                     { return Field{Kind: Path} }
func optPath() Field                  { return Field{Kind: OptPath} }
func list(of ...Field) Field          { return Field{Kind: List, Of: of} }
func opt(of ...Field) Field           { return Field{Kind: Opt, Of: of} }
func since(minor int, f Field) Field  { f.Since = minor; return f }
func with(name string, f Field) Field { f.With = name; return f }
func without(name string, f Field) Field {
	f.Without = name
	return f
}

// InfoShape is what is known of a valid path, without the path.
func InfoShape() Shape {
	return Shape{optPath(), str(maxShort), list(path()), num(), num(), num(), list(str(maxLine)), str(maxShort)}
}

// KeyedInfoShape is InfoShape behind its path.
func KeyedInfoShape() Shape { return append(Shape{path()}, InfoShape()...) }

func resultShape() Shape {
	return Shape{
		num(), str(maxText), num(), num(), num(), num(), // status, message, times built, not deterministic, start, stop
		since(37, opt(num())), since(37, opt(num())), // CPU time
		without(FeatureRealisationWithPath, list(str(maxLine), str(maxText))),
		with(FeatureRealisationWithPath, list(str(maxShort), path(), list(str(maxLine)))),
	}
}

// Lookup returns what an operation looks like, whether it is still spoken or not.
func Lookup(o Op) (Operation, bool) { //nolint:funlen // a table
	one, paths := Shape{num()}, Shape{list(path())}
	derived := list(Field{Kind: Derived})
	substitutable := []Field{optPath(), list(path()), num(), num()}
	realisation := func(f Field) Field { return with(FeatureRealisationWithPath, f) }
	text := func(f Field) Field { return without(FeatureRealisationWithPath, f) }
	switch o {
	case IsValidPath:
		return Operation{Name: "IsValidPath", Request: Shape{path()}, Answer: one}, true
	case HasSubstitutes:
		return Operation{Name: "HasSubstitutes", Request: Shape{path()}, Answer: one}, true
	case QueryPathHash:
		return Operation{Name: "QueryPathHash", Request: Shape{path()}, Answer: Shape{str(maxShort)}}, true
	case QueryReferences:
		return Operation{Name: "QueryReferences", Request: Shape{path()}, Answer: paths}, true
	case QueryReferrers:
		return Operation{Name: "QueryReferrers", Request: Shape{path()}, Answer: paths}, true
	case AddToStore: // name, method, references, repair
		return Operation{Name: "AddToStore", Request: Shape{str(maxShort), str(maxShort), list(path()), num()}, Answer: KeyedInfoShape(), Body: Framed}, true
	case AddTextToStore:
		return Operation{Name: "AddTextToStore", Request: Shape{str(maxShort), str(maxText), list(path())}, Answer: Shape{path()}}, true
	case BuildPaths:
		return Operation{Name: "BuildPaths", Request: Shape{derived, num()}, Answer: one}, true
	case EnsurePath:
		return Operation{Name: "EnsurePath", Request: Shape{path()}, Answer: one}, true
	case AddTempRoot:
		return Operation{Name: "AddTempRoot", Request: Shape{path()}, Answer: one}, true
	case AddIndirectRoot:
		return Operation{Name: "AddIndirectRoot", Request: Shape{str(maxLine)}, Answer: one}, true
	case SyncWithGC:
		return Operation{Name: "SyncWithGC", Answer: one}, true
	case FindRoots:
		return Operation{Name: "FindRoots", Answer: Shape{list(str(maxLine), path())}}, true
	case ExportPath:
		return Operation{Name: "ExportPath", Request: Shape{path(), num()}}, true
	case QueryDeriver:
		return Operation{Name: "QueryDeriver", Request: Shape{path()}, Answer: Shape{optPath()}}, true
	case SetOptions: // see the constants of options.go
		return Operation{Name: "SetOptions", Request: Shape{
			num(), num(), num(), num(), num(), num(), num(), num(), num(), num(), num(), num(),
			{Kind: List, Max: 4096, Of: Shape{str(maxShort), str(maxText)}},
		}}, true
	case CollectGarbage: // action, paths, ignore liveness, how much, three that are obsolete
		return Operation{Name: "CollectGarbage", Request: Shape{
			num(), without(FeatureDeadSpecificReferers, list(path())), with(FeatureDeadSpecificReferers, Field{Kind: Choice, Of: Shape{list(path()), num()}}),
			num(), num(), num(), num(), num(),
		}, Answer: Shape{list(str(maxLine)), num(), num()}}, true // what is deleted, bytes, one that is obsolete
	case QuerySubstitutablePathInfo:
		return Operation{Name: "QuerySubstitutablePathInfo", Request: Shape{path()}, Answer: Shape{opt(substitutable...)}}, true
	case QueryDerivationOutputs:
		return Operation{Name: "QueryDerivationOutputs", Request: Shape{path()}, Answer: paths}, true
	case QueryAllValidPaths:
		return Operation{Name: "QueryAllValidPaths", Answer: paths}, true
	case QueryFailedPaths:
		return Operation{Name: "QueryFailedPaths"}, true
	case ClearFailedPaths:
		return Operation{Name: "ClearFailedPaths", Request: Shape{list(str(maxLine))}}, true
	case QueryPathInfo:
		return Operation{Name: "QueryPathInfo", Request: Shape{path()}, Answer: Shape{opt(InfoShape()...)}}, true
	case ImportPaths:
		return Operation{Name: "ImportPaths"}, true
	case QueryDerivationOutputNames:
		return Operation{Name: "QueryDerivationOutputNames", Request: Shape{path()}, Answer: Shape{list(str(maxShort))}}, true
	case QueryPathFromHashPart:
		return Operation{Name: "QueryPathFromHashPart", Request: Shape{str(maxShort)}, Answer: Shape{optPath()}}, true
	case QuerySubstitutablePathInfos:
		return Operation{
			Name: "QuerySubstitutablePathInfos", Request: Shape{list(path(), str(maxShort))},
			Answer: Shape{list(append([]Field{path()}, substitutable...)...)},
		}, true
	case QueryValidPaths: // paths, whether to substitute
		return Operation{Name: "QueryValidPaths", Request: Shape{list(path()), num()}, Answer: paths}, true
	case QuerySubstitutablePaths:
		return Operation{Name: "QuerySubstitutablePaths", Request: paths, Answer: paths}, true
	case QueryValidDerivers:
		return Operation{Name: "QueryValidDerivers", Request: Shape{path()}, Answer: paths}, true
	case OptimiseStore:
		return Operation{Name: "OptimiseStore", Answer: one}, true
	case VerifyStore: // contents, repair
		return Operation{Name: "VerifyStore", Request: Shape{num(), num()}, Answer: one}, true
	case BuildDerivation:
		return Operation{Name: "BuildDerivation", Request: Shape{
			path(), {Kind: List, Max: maxOutputs, Of: Shape{str(maxShort), optPath(), str(maxShort), str(maxShort)}},
			list(path()), str(maxLine), str(maxLine), list(str(maxText)), list(str(maxLine), str(maxText)), num(),
		}, Answer: resultShape()}, true
	case AddSignatures:
		return Operation{Name: "AddSignatures", Request: Shape{path(), {Kind: List, Max: 1024, Of: Shape{str(maxLine)}}}, Answer: one}, true
	case NarFromPath:
		return Operation{Name: "NarFromPath", Request: Shape{path()}, Body: ArchiveBody}, true
	case AddToStoreNar: // info, repair, do not check signatures
		return Operation{Name: "AddToStoreNar", Request: append(KeyedInfoShape(), num(), num()), Body: Framed}, true
	case QueryMissing:
		return Operation{Name: "QueryMissing", Request: Shape{derived}, Answer: Shape{list(path()), list(path()), list(path()), num(), num()}}, true
	case QueryDerivationOutputMap:
		return Operation{Name: "QueryDerivationOutputMap", Request: Shape{path()}, Answer: Shape{list(str(maxShort), optPath())}}, true
	case RegisterDrvOutput:
		return Operation{Name: "RegisterDrvOutput", Request: Shape{
			text(str(maxText)), realisation(path()), realisation(str(maxShort)), realisation(path()), realisation(list(str(maxLine))),
		}}, true
	case QueryRealisation:
		return Operation{
			Name: "QueryRealisation", Request: Shape{text(str(maxShort)), realisation(path()), realisation(str(maxShort))},
			Answer: Shape{text(list(str(maxText))), realisation(opt(path(), list(str(maxLine))))},
		}, true
	case AddMultipleToStore: // repair, do not check signatures
		return Operation{Name: "AddMultipleToStore", Request: Shape{num(), num()}, Body: Framed}, true
	case AddBuildLog:
		return Operation{Name: "AddBuildLog", Request: Shape{str(maxShort)}, Answer: one, Body: Framed}, true
	case BuildPathsWithResults:
		return Operation{
			Name: "BuildPathsWithResults", Request: Shape{derived, num()},
			Answer: Shape{list(append([]Field{{Kind: Derived}}, resultShape()...)...)},
		}, true
	case AddPermRoot:
		return Operation{Name: "AddPermRoot", Request: Shape{path(), str(maxLine)}, Answer: Shape{str(maxLine)}}, true
	}
	return Operation{}, false
}
