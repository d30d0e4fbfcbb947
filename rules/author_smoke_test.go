package rules_test
import ("testing";"fmt";"time"; "github.com/sallyport/sallyport/rules")
func TestSmoke(t *testing.T){
 c:=&rules.Catalogue{}
 t0:=time.Now(); a:=c.Judge(&rules.Change{Title:"x",Head:rules.Head{Ref:"codex/foo"}}); fmt.Println(time.Since(t0))
 fmt.Printf("%+v\n",a)
 for _,m:=range []string{"Add x\n\nCo-Authored-By: Claude <noreply@anthropic.com>\n","Add x\n\nText\n\n> Co-authored-by: Claude <noreply@anthropic.com>\n"}{
 fmt.Printf("%+v\n",c.Judge(&rules.Change{Commits:[]rules.Commit{{SHA:"aa",Message:m}}}))}
 ch:=&rules.Change{Author:rules.Actor{ID:209825114,Login:"claude[bot]",Type:"Bot"},LastPusher:rules.Actor{ID:209825114,Login:"claude[bot]",Type:"Bot"},CommitsComplete:rules.Yes,Commits:[]rules.Commit{{SHA:"aa",Author:rules.Identity{Email:"209825114+claude[bot]@users.noreply.github.com"}}},
 Body:"Hello `x`\n\n🤖 Generated with [Claude Code](https://claude.ai/code)"}
 fmt.Printf("%+v\n",c.Judge(ch))
}
