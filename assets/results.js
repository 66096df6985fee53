/* The Results page in the browser: what a click opens is read from its top. */
document.addEventListener("click", (event) => {
  "use strict";
  const link = event.target.closest && event.target.closest('a[data-wb-nav="/results"][data-wb-set]');
  const main = document.querySelector(".wb-main");
  if (link && main && !event.ctrlKey && !event.metaKey) main.scrollTop = 0;
});
