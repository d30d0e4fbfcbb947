package gate

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// An entry whose members are out of order is as right, and costs twice as much.
func TestPayloadsAreInOrder(t *testing.T) {
	for _, v := range []any{decisionPayload{}, effectPayload{}, outcomePayload{}, alertPayload{}, factPayload{}, policyPayload{}, effectResult{}} {
		var names []string
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		if !slices.IsSorted(names) || slices.Contains(names, "") {
			t.Errorf("%T: %q", v, names)
		}
	}
}
