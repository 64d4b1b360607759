const leaves=[...document.querySelectorAll('.leaf')],branches=[...document.querySelectorAll('.branch')];
const search=document.getElementById('search'),typed=document.getElementById('typed'),all=document.getElementById('all');
const pressed=b=>b.getAttribute('aria-pressed')==='true';
function filter(){
 const text=search.value.trim().toLowerCase(),only=pressed(typed);let count=0;
 leaves.forEach(l=>{const hit=(!text||l.dataset.key.includes(text)||l.querySelector('.value').textContent.toLowerCase().includes(text))&&(!only||l.classList.contains('typed'));
  l.classList.toggle('gone',!hit);count+=hit;});
 branches.forEach(b=>{const some=b.querySelector('.leaf:not(.gone)');b.classList.toggle('gone',!some);if(text&&some)b.open=true;});
 document.getElementById('shown').textContent=text||only?count+' values':'';}
search.addEventListener('input',filter);
typed.addEventListener('click',()=>{typed.setAttribute('aria-pressed',!pressed(typed));filter();});
all.addEventListener('click',()=>{const open=!pressed(all);all.setAttribute('aria-pressed',open);branches.forEach(b=>b.open=open);});
document.querySelectorAll('.word').forEach(b=>b.addEventListener('click',()=>{
 navigator.clipboard&&navigator.clipboard.writeText(b.dataset.word);b.classList.add('copied');setTimeout(()=>b.classList.remove('copied'),900);}));
function reach(){const at=location.hash.startsWith('#k-')&&document.getElementById(decodeURIComponent(location.hash.slice(1)));
 for(let n=at;n;n=n.parentElement)if(n.tagName==='DETAILS')n.open=true;if(at)at.scrollIntoView({block:'center'});}
addEventListener('hashchange',reach);reach();
