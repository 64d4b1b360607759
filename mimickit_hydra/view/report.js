document.querySelectorAll('.legend button').forEach(b=>b.addEventListener('click',()=>{
 const off=b.classList.toggle('off');
 b.closest('.view').querySelectorAll('svg g.'+b.dataset.group).forEach(g=>g.classList.toggle('off',off));}));
document.querySelectorAll('.groupby button').forEach(b=>b.addEventListener('click',()=>{
 const view=b.dataset.view;
 document.querySelectorAll('.groupby button').forEach(o=>o.setAttribute('aria-pressed',o===b));
 document.querySelectorAll('.view').forEach(v=>v.hidden=v.dataset.view!==view);
 document.querySelectorAll('i[data-classes]').forEach(i=>i.className=i.dataset.classes.split(' ')[view]);}));
document.querySelectorAll('th button').forEach(b=>b.addEventListener('click',()=>{
 const th=b.parentElement,row=th.parentElement,at=[...row.children].indexOf(th),body=th.closest('table').tBodies[0];
 const up=th.getAttribute('aria-sort')==='descending';
 [...row.children].forEach(c=>c.removeAttribute('aria-sort'));th.setAttribute('aria-sort',up?'ascending':'descending');
 const value=r=>{const c=r.children[at];return c.dataset.value!==undefined?c.dataset.value:c.textContent};
 const compare=(a,b)=>{const x=value(a),y=value(b),p=parseFloat(x),q=parseFloat(y);
  if(x===''||y==='')return (x==='')-(y==='');
  const d=isNaN(p)||isNaN(q)?x.localeCompare(y,undefined,{numeric:true}):p-q;return up?d:-d};
 [...body.rows].sort(compare).forEach(r=>body.appendChild(r));}));
